"""Names of XML namespaces, elements and link relations that feed readers and validators know.

Facts only: which namespace has which usual prefix, and what a declaration of one may look like.
"""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The names in a list that is written as one text."""
    return frozenset(text.split())


# Those whose elements we check, by the prefix that the rest of this package calls them by.
CHECKED = {
    "http://www.w3.org/2005/Atom": "atom",
    "http://www.w3.org/1999/xhtml": "xhtml",
    "http://www.w3.org/XML/1998/namespace": "xml",
    "http://search.yahoo.com/mrss/": "media",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://purl.org/rss/1.0/modules/content/": "content",
    "http://purl.org/syndication/history/1.0": "fh",
    "http://purl.org/syndication/thread/1.0": "thr",
    "http://purl.org/rss/1.0/modules/slash/": "slash",
    "http://purl.org/rss/1.0/modules/syndication/": "sy",
    "http://wellformedweb.org/CommentAPI/": "wfw",
    "http://backend.userland.com/creativeCommonsRssModule": "creativeCommons",
}

# Those that validators know and that content may use. The rest count as unknown, though validators check some (iTunes,
# GeoRSS): a feed that we call clean must be clean to them.
ACCEPTED = {
    "http://www.w3.org/2000/svg": "svg",
    "http://www.w3.org/1998/Math/MathML": "mathml",
    "http://www.w3.org/1999/xlink": "xlink",
}

PREFIXES = CHECKED | ACCEPTED
RESERVED_PREFIXES = frozenset(PREFIXES.values())

# RFC 8288's registry, as far as validators of feeds know it. `amphtml` and `canonical` are not among them.
LINK_RELATIONS = words(
    "alternate current describedby edit edit-media enclosure first hub last license next next-archive payment "
    "prev-archive previous related replies search self service up via"
)
PAGING_RELATIONS = words("current first last next next-archive prev-archive previous")

# ISO 639-1; three-letter codes are taken as they come.
LANGUAGES = words(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en "
    "eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv "
    "ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne "
    "ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st "
    "su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)


def short(expat_name: str) -> str:
    """`"uri local"` -> `"prefix:local"`, `"{uri}local"` for a namespace that is not known, `"local"` without one."""
    uri, _, local = expat_name.rpartition(" ")
    prefix = PREFIXES.get(uri)
    return f"{prefix}:{local}" if prefix else f"{{{uri}}}{local}" if uri else local


def namespace_rule(prefix: str, uri: str, *, in_atom: bool) -> str:
    """The rule that declaring `prefix` (empty: the default) for `uri` breaks, or ""."""
    if uri == "http://search.yahoo.com/mrss":
        return "MediaRssNamespace"
    if uri == "http://purl.org/atom/ns#":
        return "ObsoleteNamespace"
    if uri not in PREFIXES:
        return "ReservedPrefix" if prefix in RESERVED_PREFIXES else "UnknownNamespace"
    if prefix in RESERVED_PREFIXES and PREFIXES[uri] != prefix:
        return "ReservedPrefix"
    return "AvoidNamespacePrefix" if in_atom and prefix and PREFIXES[uri] in ("atom", "xhtml") else ""
