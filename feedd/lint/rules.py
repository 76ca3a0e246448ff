"""The rules by name, what they mean, and the value one broken rule is reported as.

Rules keep the W3C feed validator's event name and level where it has such an event; the others are ours (the second
table). Checks add findings to a Report; nothing here decides whether a feed may be published.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Level = Literal["error", "warning"]
Kind = Literal["atom", "rss", "json", "opml"]

MAX_PARSED_BYTES = 64_000_000
MAX_FINDINGS = 1000
"""A feed with more than this many flaws is reported up to here: the list stays bounded whatever the input."""


class Finding(Struct, frozen=True, gc=False):
    """One broken rule. `line` counts from 1; `entry_id` is empty for what belongs to no entry."""

    level: Level
    rule: str
    line: int
    message: str
    entry_id: str = ""


W3C_ERRORS = {
    "BadXmlVersion": "only XML 1.0 is read everywhere",
    "CurrentNotSelfInCompleteFeed": "the current link of a complete feed is the feed itself (RFC 5005, 2)",
    "DuplicateAtomLink": "at most one alternate link per type and language (RFC 4287, 4.1.1)",
    "DuplicateElement": "an element that may occur once occurs again",
    "DuplicateIds": "every entry has the same id",
    "DuplicateValue": "a value that must be unique occurs again",
    "FeedRelInCompleteFeed": "a complete feed links to no pages or archives (RFC 5005, 2)",
    "InvalidAddrSpec": "an e-mail address",
    "InvalidBooleanAttribute": "true or false",
    "InvalidContact": "an e-mail address",
    "InvalidCountryCode": "country codes of two letters with spaces between them",
    "InvalidCreditRole": "a role of the EBU's list, in lower case",
    "InvalidDay": "the English name of a day of the week",
    "InvalidDoctype": "a feed has no document type declaration",
    "InvalidExpansionState": "line numbers with commas between them",
    "InvalidFloat": "a number, such as 29.97",
    "InvalidFullLink": "an absolute URI",
    "InvalidHeight": "an RSS image is 1 to 400 pixels high",
    "InvalidHour": "an hour from 0 to 23",
    "InvalidHttpGUID": "a guid that is a permalink is an absolute URL",
    "InvalidIntegerAttribute": "a whole number",
    "InvalidLanguage": "a language tag (RFC 5646)",
    "InvalidMIMEAttribute": "a media type, such as image/png",
    "InvalidMIMEType": "a media type, such as text/html",
    "InvalidMediaExpression": "full, sample or nonstop",
    "InvalidMediaHash": "32 hexadecimal digits of MD5 or 40 of SHA-1",
    "InvalidMediaMedium": "image, audio, video, document or executable",
    "InvalidMediaRating": "adult or nonadult, where no scheme says otherwise",
    "InvalidMediaRestrictionRel": "allow or deny",
    "InvalidMediaRestrictionType": "country, uri or sharing",
    "InvalidMediaTextType": "plain or html",
    "InvalidNPTTime": "a time such as 12.5 or 0:00:12.5",
    "InvalidNamespace": "the namespace of the document's root",
    "InvalidNonNegativeInteger": "a whole number, 0 or more",
    "InvalidOPMLVersion": "OPML 2.0",
    "InvalidPermalink": 'a tag: or urn: guid is no permalink: isPermaLink="false"',
    "InvalidPositiveInteger": "a whole number, 1 or more",
    "InvalidRFC2822Date": "a date such as Wed, 01 Jan 2020 00:00:00 GMT",
    "IncorrectDOW": "the day of the week is that of the date",
    "InvalidRFC3339Date": "a date such as 2020-01-01T00:00:00Z (RFC 3339)",
    "InvalidRSSVersion": "RSS 2.0",
    "InvalidTAG": "a tag URI (RFC 4151)",
    "InvalidTextType": "text, html or xhtml (RFC 4287, 3.1.1)",
    "InvalidTrueFalse": "true or false",
    "InvalidURLAttribute": "an absolute http or https URL",
    "InvalidURN": "a URN (RFC 8141)",
    "InvalidUUID": "a UUID (RFC 9562)",
    "InvalidUpdatePeriod": "hourly, daily, weekly, monthly or yearly",
    "InvalidUriChar": "a character that a URI writes percent-encoded (RFC 3986, 2)",
    "InvalidW3CDTFDate": "a date such as 2020-01-01 or 2020-01-01T00:00:00Z",
    "InvalidWidth": "an RSS image is 1 to 144 pixels wide",
    "ItemMustContainTitleOrDescription": "an item has a title or a description",
    "LinkPastEnd": "the first page has no previous one, the last no next one (RFC 5005, 3)",
    "MediaGroupWithoutAlternatives": "a media:group holds two media:content or more",
    "MediaRssNamespace": "the Media RSS namespace ends in a slash",
    "MisplacedMetadata": "a feed's own elements come before its first entry",
    "MissingAttribute": "a required attribute",
    "MissingContentOrAlternate": "an entry without content has an alternate link (RFC 4287, 4.1.2)",
    "MissingDescription": "a channel has a description",
    "MissingElement": "a required element",
    "MissingHref": "a link has an href",
    "MissingNamespace": "Atom elements are in Atom's namespace",
    "MissingLink": "a required link",
    "MissingSummary": "content that is elsewhere or not text has a summary (RFC 4287, 4.1.2)",
    "MissingTitle": "a required title",
    "MissingXhtmlDiv": "an XHTML text is one div (RFC 4287, 3.1.1.3)",
    "NotInANamespace": "an RSS extension has a namespace",
    "ObsoleteNamespace": "Atom 0.3 is not Atom 1.0",
    "SAXError": "well-formed XML with namespaces",
    "UndefinedElement": "an element or key that the format does not define here",
    "UnexpectedAttribute": "an attribute that the format does not define here",
    "UnexpectedText": "text where only elements may be",
    "UnexpectedWhitespace": "white space around an id or a date",
    "UnicodeError": "the bytes are UTF-8",
    "UriNotIri": "a URI is ASCII: other characters are percent-encoded, hosts punycoded",
    "ValidatorLimit": "at most 5,000,000 bytes of XML, which is what the W3C validator reads",
}

W3C_WARNINGS = {
    "ArchiveIncomplete": "an archive document is linked to its neighbours, or complete (RFC 5005, 4)",
    "AtomLinkNotEmpty": "an Atom link holds no text",
    "AttrNotBlank": "an attribute is not empty",
    "AvoidNamespacePrefix": "Atom and XHTML elements without a prefix are read more widely",
    "AvoidTextInput": "hardly any reader shows textInput",
    "BadCharacters": "no C1 controls, no U+FFFD, no UTF-8 read as Latin-1",
    "CharacterData": "< and & of a plain text are &#x3C; and &#x26; (RSS profile)",
    "ContainsEmail": "a name holds no e-mail address",
    "ContainsHTML": "a plain text that looks like markup",
    "ContainsRelRef": "URLs in content are absolute",
    "ContainsUndeclaredHTML": 'a text that looks like markup has type="html"',
    "DangerousStyleAttr": "content has no style attributes",
    "DeprecatedMediaAdult": "media:rating instead of media:adult",
    "DuplicateDescriptionSemantics": "an Atom element says what an RSS one says",
    "DuplicateEnclosure": "an item has at most one enclosure",
    "DuplicateEntries": "every entry has an id of its own",
    "DuplicateItemSemantics": "two elements of an item say the same thing",
    "DuplicateSemantics": "two elements of a channel say the same thing",
    "DuplicateUpdated": "no two entries of a feed have the same updated",
    "EmailFormat": "name@host (Name)",
    "FeedHistoryRelInEntry": "paging links belong to the feed",
    "HtmlFragment": "content of a media type is a whole document",
    "ImageLinkDoesntMatch": "the image's link is the channel's",
    "ImageTitleDoesntMatch": "the image's title is the channel's",
    "ImageUrlFormat": "an RSS image is GIF, JPEG or PNG",
    "ImplausibleDate": "neither in the future nor before 1990",
    "InvalidOutlineVersion": "RSS, RSS1, RSS2 or scriptingNews",
    "MisplacedItem": "a channel's own elements come before its items",
    "MisplacedXHTMLContent": "XHTML inside content only",
    "MissingAtomSelfLink": 'a channel has an atom:link rel="self"',
    "MissingCurrentInArchive": "an archive links to the current feed (RFC 5005, 4)",
    "MissingGuid": "an item has a guid",
    "MissingOutlineType": 'an outline with a feed\'s attributes has type="rss"',
    "MissingRealName": "name@host (Name)",
    "MissingSelf": "a feed names its own URL",
    "MissingSourceElement": "a source has id, title and updated, or is not there",
    "MissingTextualContent": "an entry has a summary or content",
    "MissingTitleAttr": "an outline of a feed has a title",
    "MissingTypeAttr": "content with src has a type",
    "MissingUrlAttr": "an outline of type link has a url",
    "MissingXmlURL": "an outline of a feed has an xmlUrl",
    "NeedDescriptionBeforeContent": "description comes before content:encoded",
    "NonCanonicalURI": "an id is written in its normal form",
    "NotBlank": "an element is not empty",
    "NotHtml": "HTML without parse errors, of elements that HTML has",
    "NotInline": "XHTML content is not escaped",
    "NotSufficientlyUnique": "a guid is more than a few digits",
    "NotUTF8": "the document says it is UTF-8, or says nothing",
    "ProblematicalRFC822Date": "exactly Wed, 01 Jan 2020 00:00:00 GMT",
    "RelativeSelf": "the self link is absolute",
    "ReservedPrefix": "a prefix that all know stands for another namespace",
    "SchemeNotIANARegistered": "an id's scheme is a registered one",
    "SecurityRisk": "content has no scripts, frames, plug-ins or document-level elements",
    "SecurityRiskAttr": "content has no event handlers and no script URLs",
    "SelfDoesntMatchLocation": "the self link is the URL the feed is fetched from",
    "SelfNotAtom": "the self link has the feed's media type",
    "SlashDate": "slash:comments needs a lastBuildDate",
    "UnknownNamespace": "a namespace that validators do not know, or that is not checked here",
    "UnregisteredAtomLinkRel": "a registered link relation (RFC 8288), or a URI",
    "UseZeroForMidnight": "midnight is hour 0",
    "UseZeroForUnknown": "an enclosure of unknown length has length 0",
}

OWN_ERRORS = {
    "JSONError": "well-formed JSON (RFC 8259) in UTF-8 without a byte order mark",
    "JSONFeedVersion": "version is https://jsonfeed.org/version/1.1",
    "JSONType": "a value of the type that JSON Feed gives its key",
}

OWN_WARNINGS = {
    "DuplicateEntryLink": "no two entries of a feed have the same link",
    "FeedOlderThanEntry": "a feed's updated is not before that of its newest entry",
    "JSONLink": "next_url and the like differ from feed_url",
    "SchemeNotHttp": "links are http or https",
}

RULES: dict[str, tuple[Level, str]] = {
    **{rule: ("error", what) for rule, what in (W3C_ERRORS | OWN_ERRORS).items()},
    **{rule: ("warning", what) for rule, what in (W3C_WARNINGS | OWN_WARNINGS).items()},
}


class Report(Struct, frozen=True):
    """Where checks put what they find, and what they need to know of the document.

    `data` are the bytes of the document; `now` is seconds since 1970, None where the future is not looked at.
    """

    kind: Kind
    data: bytes
    findings: list[Finding]
    now: int | None = None
    self_url: str = ""
    entry_id: str = ""

    def add(self, rule: str, line: int, about: str = "") -> None:
        """Note that `rule` is broken on `line`; `about` says by what."""
        level, meaning = RULES[rule]
        if not self.is_full():
            message = f"{about}: {meaning}" if about else meaning
            self.findings.append(Finding(level, rule, line, message, self.entry_id))

    def is_full(self) -> bool:
        """Whether anything more would go unsaid."""
        return len(self.findings) >= MAX_FINDINGS

    def is_readable(self, limit: int = MAX_PARSED_BYTES) -> bool:
        """Whether the document is UTF-8 and small enough to look at; says so where it is not. `limit` is in bytes."""
        if len(self.data) > limit:
            self.add("ValidatorLimit", 1, f"{len(self.data)} bytes")
        if len(self.data) > MAX_PARSED_BYTES:
            return False
        try:
            self.data.decode()
        except UnicodeDecodeError as error:
            self.add("UnicodeError", self.data.count(b"\n", 0, error.start) + 1, f"byte {error.start}")
            return False
        return True

    def within(self, entry_id: str) -> Report:
        """The same report, for what belongs to one entry."""
        return Report(self.kind, self.data, self.findings, self.now, self.self_url, shown(entry_id, 500))


def shown(value: str, limit: int = 80) -> str:
    """A value as a message may show it: one line, printable, at most `limit` characters."""
    text = value if len(value) <= limit else value[: limit - 1] + "…"
    return text if text.isprintable() else ascii(text)[1:-1]
