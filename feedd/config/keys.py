"""The keys of config.toml as frozen pydantic tables: type, default, one line of comment, and what is allowed.

`config` reads a file into them and makes messages, a reference and derived defaults of what stands here; this
module reads nothing. What a value may be is in `values`. Only `config` and `initialise` import it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from feedd import model
from feedd.config.values import (
    Access,
    Addresses,
    Argv,
    BaseUrl,
    Compressions,
    Cron,
    Day,
    Dead,
    Domain,
    Domains,
    FeedKinds,
    Folder,
    Formats,
    Headers,
    Host,
    HostAction,
    HostPattern,
    Language,
    Languages,
    LinkKinds,
    LogFormat,
    LogLevel,
    Name,
    Networks,
    Ports,
    Redirects,
    TagHost,
    Text,
    Texts,
    Token,
    Urls,
    Watch,
    Webhook,
    toml,
)

_LINE = "text that is not blank, on one line"
_URL = 'an absolute http or https URL in ASCII, without user, query or fragment, such as "https://news.example"'
_URLS = 'a list of absolute http or https URLs in ASCII, without user, query or fragment'
_SERVER = "http://host:port of [server]"
_HEADERS = 'a list of texts such as "X-Api-Key: $HARBOUR_KEY", a header and a variable of the environment'
_FORMATS = 'a list of at least one of "atom", "rss", "json"'
_LANGUAGE = 'a language tag such as "en" or "pt-BR"'
_LIST = "a list of at least one text; for no condition leave the key out"

MetricsAccess = Literal["auto", "on", "off"]


# --- the keys: default, one line of comment, what is allowed ---------------------------------------------------------


def _key(
    default: object, comment: str, allowed: str, *, otherwise: str = "", example: object = None,
    restart: bool = False, **limits: Any,
) -> Any:
    """One key. `otherwise` says what holds while it is not set; `example` is what config.toml shows for it.

    `restart`: a running feedd goes on as it was started; all other keys take effect as soon as the file changes.
    """
    comment += "; needs a restart" if restart else ""
    extra: dict[str, Any] = {"allowed": allowed, "otherwise": otherwise, "example": example, "restart": restart}
    return Field(default, description=comment, json_schema_extra=extra, **limits)


def _flag(default: bool | None, comment: str, **more: Any) -> Any:
    return _key(default, comment, "true or false", **more)


def _whole(default: int | None, low: int, high: int, comment: str, **more: Any) -> Any:
    comment = f"{comment} ({low} to {high})"
    return _key(default, comment, f"a whole number from {low} to {high}", ge=low, le=high, **more)


def _choice(default: str, comment: str, options: object, **more: Any) -> Any:
    comment = f"{comment} ({', '.join(get_args(options))})"
    return _key(default, comment, "one of " + ", ".join(map(toml, get_args(options))), **more)


def _tables(comment: str, allowed: str, example: str) -> Any:
    return _key({}, comment, allowed, example=example)


def _score(example: float, what: str) -> Any:
    return _key(None, f"only articles whose {what} is at least this", "a number", example=example)


def _condition(example: tuple[str, ...], comment: str, allowed: str = _LIST) -> Any:
    return _key((), comment, allowed, example=example)


class Table(BaseModel):
    """What every table of config.toml shares: unknown keys and loose types are errors, values do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Site(Table):
    title: Text = _key("feedd", "name of the site; the titles of its feeds begin with it", _LINE)
    url: BaseUrl = _key(
        "", "relative URLs in articles are resolved against it", _URL, otherwise=_SERVER, example="https://news.example"
    )
    public_url: BaseUrl = _key(
        "", "where subscribers fetch the feeds", _URL, otherwise=_SERVER, example="https://feeds.example"
    )
    language: Language = _key("en", "language of titles and articles", _LANGUAGE)
    author: Text = _key(
        "", "author of articles that name no provider", _LINE, otherwise="site.title", example="The editors"
    )
    description: Text = _key(
        "", "one sentence about the site, shown by readers", _LINE, example="News about the things we build with"
    )
    tag_host: TagHost = _key(
        "", "host in entry ids; with a new one every entry looks new", "a host name",
        otherwise="the host of site.url", example="news.example",
    )  # fmt: skip
    tag_date: Day = _key(
        "2026-01-01", "date in entry ids (RFC 4151); likewise never to change", 'a day such as "2026-01-01"'
    )


class Articles(Table):
    path: Folder = _key(Path("articles"), "folder of article files, read to any depth", "a folder's path", restart=True)
    max_bytes: int = _whole(8 << 20, 1 << 10, 8 << 20, "larger article files are refused")
    watch: Watch = _choice("auto", "how changes are noticed; polling suits network folders", Watch, restart=True)
    settle_ms: int = _whole(20, 0, 60_000, "quiet time after a change before files are read")
    max_wait_ms: int = _whole(500, 1, 600_000, "longest wait for quiet under a steady stream of changes")
    scan_interval_s: int = _whole(3600, 10, 604_800, "seconds between full scans, in case an event was lost")
    poll_interval_s: int = _whole(5, 1, 3600, "seconds between looks when polling", restart=True)


class Override(Table):
    title: Text = _key("", "title of this feed", _LINE, otherwise="made from site.title", example="Short reads")
    description: Text = _key(
        "", "one sentence about this feed", _LINE, otherwise="made from metadata", example="For the way home"
    )
    limit: int | None = _whole(None, 1, 1000, "newest entries in this feed", otherwise="feeds.limit", example=20)
    language: Language = _key("", "language of this feed", _LANGUAGE, otherwise="feeds.language", example="en")
    author: Text = _key("", "author of this feed", _LINE, otherwise="feeds.author", example="The systems desk")
    full_content: bool | None = _flag(None, "carry whole articles", otherwise="feeds.full_content", example=True)


class CustomFeed(Override):
    private: bool = _flag(False, "only for who has server.token or asks from server.private_networks")
    formats: Formats = _key(
        (), "which formats are written", _FORMATS, otherwise="feeds.formats", example=("atom", "json")
    )
    topics: Texts = _condition(("AI", "C++"), "any of these topics")
    providers: Domains = _condition(("harbourpost.example",), "any of these providers, by domain")
    categories: Texts = _condition(("news",), "any of these categories")
    types: Texts = _condition(("article",), "any of these types")
    languages: Languages = _condition(("en",), "any of these languages", f"{_LIST}; each {_LANGUAGE}")
    not_topics: Texts = _condition(("Gossip",), "none of these topics")
    not_providers: Domains = _condition(("tabloid.example",), "none of these providers, by domain")
    not_categories: Texts = _condition(("sponsored",), "none of these categories")
    not_types: Texts = _condition(("video",), "none of these types")
    not_languages: Languages = _condition(("fr",), "none of these languages", f"{_LIST}; each {_LANGUAGE}")
    min_quality: float | None = _score(60, "quality")
    min_heat: float | None = _score(40, "heat")
    title_contains: Texts = _condition(("open source", "licence"), "any of these texts in the title, in any case")

    def filter(self) -> model.FeedFilter:
        """The conditions alone, as core understands them."""
        return model.FeedFilter(**{name: getattr(self, name) for name in model.FeedFilter.__struct_fields__})


class Feeds(Table):
    path: Folder = _key(Path("feeds"), "folder the feeds are written to", "a folder's path", restart=True)
    limit: int = _whole(50, 1, 1000, "newest entries in a live feed")
    formats: Formats = _key(model.FORMATS, "which formats are written", _FORMATS)
    archives: bool = _flag(True, "keep older entries in archive documents (RFC 5005)")
    full_content: bool = _flag(False, "carry whole articles, not only summaries")
    compress: Compressions = _key(
        ("gzip", "brotli"), "compressed copies beside each file", 'a list of "gzip", "brotli"; [] for none'
    )
    language: Language = _key("", "language of the feeds", _LANGUAGE, otherwise="site.language", example="en")
    author: Text = _key("", "author of the feeds", _LINE, otherwise="site.author", example="The feeds desk")
    ttl_minutes: int = _whole(60, 1, 10_080, "how long RSS readers may wait before they ask again")
    pages: bool = _flag(True, "a page for people beside each feed")
    topics: bool = _flag(True, "a feed for every topic")
    providers: bool = _flag(True, "a feed for every provider")
    categories: bool = _flag(True, "a feed for every category")
    topic: Mapping[Text, Override] = _tables("settings of one topic's feed", 'tables [feeds.topic."TOPIC"]', '"C++"')
    provider: Mapping[Domain, Override] = _tables(
        "settings of one provider's feed", 'tables [feeds.provider."DOMAIN"]', '"harbourpost.example"'
    )
    category: Mapping[Text, Override] = _tables(
        "settings of one category's feed", "tables [feeds.category.CATEGORY]", "news"
    )
    custom: Mapping[Name, CustomFeed] = _tables(
        "a feed of your own choice of articles",
        "tables [feeds.custom.NAME], the name of a-z, 0-9 and inner hyphens, at most 64 characters",
        "example",
    )


class State(Table):
    path: Folder = _key(
        Path("state"), "folder of the index, kept apart from the feeds", "a folder's path", restart=True
    )


class Server(Table):
    enabled: bool = _flag(True, "serve the feeds over HTTP", restart=True)
    host: Host = _key("127.0.0.1", "address to listen on", "an IP address or a host name", restart=True)
    port: int = _whole(8080, 0, 65535, "port to listen on; 0 takes any that is free", restart=True)
    max_age_s: int = _whole(600, 0, 86_400, "seconds that readers and proxies may keep a live feed (Cache-Control)")
    cache_bytes: int = _whole(64 << 20, 0, 16 << 30, "memory for the bytes of files that are asked for")
    max_connections: int = _whole(20_000, 1, 1_000_000, "further connections are turned away")
    full_fetches_per_hour: int = _whole(
        60, 0, 1_000_000, "per address and feed, by readers that never ask whether it changed; 0 for no limit"
    )
    trusted_proxies: Addresses = _key(
        (), "proxies whose X-Forwarded-For is believed", 'a list of IP addresses such as "127.0.0.1"',
        example=("127.0.0.1",),
    )  # fmt: skip
    status: Access = _choice("auto", "who may see /-/; auto: this machine, or by token", Access)
    metrics: MetricsAccess = _choice("auto", "who may see /metrics; auto: as for /-/; on: anybody", MetricsAccess)
    token: Token = _key(
        "", "the token for /-/, /metrics and private feeds: 16 characters or more, or a variable of the environment",
        '16 to 200 printable ASCII characters without spaces, or a variable of the environment such as "$FEEDD_TOKEN"',
        otherwise="none", example="any-long-random-text",
    )
    private_networks: Networks = _key(
        (), "networks whose addresses may read private feeds without the token",
        'a list of networks such as "127.0.0.0/8"', example=("10.0.0.0/8",),
    )  # fmt: skip
    redirects: Redirects = _key(
        (), "feeds that moved: readers are sent on for good (301)",
        'a list of texts such as "topics/ai -> topics/machine-learning"', example=("topics/ai -> topics/machines",)
    )  # fmt: skip


class Hub(Table):
    urls: Urls = _key((), "WebSub hubs that are told of every change", _URLS, example=("https://hub.example/",))
    allow_networks: Networks = _key(
        (), "private networks that hubs and subscribers may be in", 'a list of networks such as "127.0.0.0/8"',
        example=("10.0.0.0/8",),
    )  # fmt: skip
    enabled: bool = _flag(False, "a hub of its own, for these feeds alone")
    max_subscriptions: int = _whole(100_000, 1, 1_000_000, "of the hub of its own, in all")
    lease_days: int = _whole(10, 1, 30, "how long a subscription holds that does not say")


class HostRule(Table):
    action: HostAction = _choice("check", "skip: never ask; ok: never ask and take it for fresh", HostAction)
    gap_ms: int | None = _whole(
        None, 0, 3_600_000, "least time between requests to it", otherwise="links.gap_ms", example=5_000
    )
    user_agent: Text = _key(
        "", "how feedd names itself to it", _LINE, otherwise="links.user_agent", example="feedd for Harbour Post"
    )
    headers: Headers = _key(
        (), "sent with each request, their values taken from the environment", _HEADERS,
        example=("X-Api-Key: $HARBOUR_KEY",),
    )  # fmt: skip


class Links(Table):
    enabled: bool = _flag(True, "check whether the links of articles still hold")
    check: LinkKinds = _key(
        ("related",), "which links of an article", 'a list of at least one of "related", "own", "amp", "image"'
    )
    every_minutes: int = _whole(60, 1, 10_080, "how often links that are due are looked for")
    soon_s: int = _whole(
        30, 1, 86_400, "seconds from a new article to the check of its links, and between two such runs"
    )
    cron: Cron = _key(
        "", "when, or up to a minute later, instead of links.every_minutes: minute, hour, day, month, weekday in UTC",
        'five fields of cron such as "15 3 * * *"', otherwise="none", example="15 3 * * *",
    )  # fmt: skip
    dead: Dead = _choice("mark", "what feeds make of a related link that is dead", Dead)
    dead_mark: Text = _key("(dead link)", "stands after the title of a dead link", _LINE)
    follow_moves: bool = _flag(False, "feeds link to where a related link moved for good")
    archive: BaseUrl = _key(
        "https://web.archive.org/web", "a Memento TimeGate (RFC 7089) that is asked for copies of dead links", _URL
    )
    user_agent: Text = _key(
        "", "how feedd names itself to hosts", _LINE, otherwise="feedd, its version, and links.contact",
        example="Example News link check",
    )  # fmt: skip
    contact: BaseUrl = _key(
        "", "where hosts learn who asks", _URL, otherwise="site.url", example="https://news.example/about"
    )
    robots: bool = _flag(True, "ask for nothing that robots.txt forbids")
    gap_ms: int = _whole(1_000, 0, 3_600_000, "least time between two requests to one host")
    at_once: int = _whole(64, 1, 1_000, "requests at once, each to another host")
    max_run_minutes: int = _whole(30, 1, 1_440, "a run ends then; what is left waits for the next")
    max_run_links: int = _whole(100_000, 1, 10_000_000, "links asked for in one run")
    max_run_mbytes: int = _whole(1_000, 1, 1_000_000, "megabytes fetched in one run")
    ports: Ports = _key((), "ports that links may name besides 80 and 443", "a list of port numbers", example=(8080,))
    allow_networks: Networks = _key(
        (), "private networks that links may lead to", 'a list of networks such as "127.1.0.0/16"',
        example=("10.0.0.0/8",),
    )  # fmt: skip
    proxy: bool = _flag(False, "use the proxies that the environment names (HTTP_PROXY and others)")
    host: Mapping[HostPattern, HostRule] = _tables(
        "how one host is treated, or all below a domain", 'tables [links.host."HOST"], HOST a name or "*.domain"',
        '"*.harbourpost.example"',
    )


class Alerts(Table):
    webhook: Webhook = _key(
        "", "where troubles are posted to, as JSON; nobody is told without this or a command",
        'an absolute http or https URL in ASCII, without user or fragment, or a variable of the environment such as '
        '"$ALERT_URL"', otherwise="none", example="https://alerts.example/feedd",
    )  # fmt: skip
    headers: Headers = _key(
        (), "sent to the webhook, their values taken from the environment", _HEADERS,
        example=("Authorization: $ALERT_TOKEN",),
    )  # fmt: skip
    command: Argv = _key(
        (), "a program that is told, with its arguments; run without a shell",
        "a list of at least one text", otherwise="none", example=("/usr/local/bin/tell", "feedd"),
    )  # fmt: skip
    every_s: int = _whole(60, 1, 3_600, "seconds between looks for troubles")
    articles_minutes: int = _whole(15, 0, 10_080, "a file that cannot be read is a trouble after so long")
    publishing_minutes: int = _whole(5, 0, 10_080, "that nothing can be published is a trouble after so long")
    silent: FeedKinds = _key(
        ("all", "topic"), "feeds that are not to fall silent for longer than is usual for them",
        'a list of "all", "topic", "provider", "category", "custom", "private"; [] for none',
    )  # fmt: skip
    dead_links: int = _whole(20, 0, 1_000_000, "links that die within a day, if that is unusual; 0 for any number")
    resolved: bool = _flag(True, "tell also when a trouble is over")
    again_hours: int = _whole(4, 1, 720, "a trouble that comes and goes is told once in so long")
    max_per_hour: int = _whole(10, 1, 1_000, "messages at most; what is more comes as one")


class Log(Table):
    format: LogFormat = _choice("auto", "how log lines look; auto knows terminals and the journal", LogFormat)
    level: LogLevel = _choice("info", "the least level that is written", LogLevel)


def _section(table: type[Table], comment: str) -> Any:
    return _key(table(), comment, "a table")


class Config(Table):
    """The whole of config.toml. From `config.load`: folders absolute, every derived default filled in."""

    site: Site = _section(Site, "what the feeds are about")
    articles: Articles = _section(Articles, "where articles come from")
    feeds: Feeds = _section(Feeds, "what is written")
    state: State = _section(State, "what feedd remembers")
    server: Server = _section(Server, "the built-in web server")
    hub: Hub = _section(Hub, "push: WebSub")
    links: Links = _section(Links, "link checking")
    alerts: Alerts = _section(Alerts, "who is told when something is the matter; quiet by default")
    log: Log = _section(Log, "what feedd says, on stderr")


def below(field: FieldInfo) -> tuple[type[Table] | None, bool]:
    """The kind of table that a key holds, and whether it holds them by names; None for a plain value."""
    arguments = get_args(field.annotation)
    held = arguments[-1] if arguments else field.annotation
    return (held, bool(arguments)) if isinstance(held, type) and issubclass(held, Table) else (None, False)


def fields(table: type[Table], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of the file, dotted; `<name>` stands for a name of the user's own choice."""
    seen: list[type[Table]] = []
    for key, field in table.model_fields.items():
        inside, named = below(field)
        dotted = f"{prefix}{key}" + (".<name>" if named else "")
        if inside is None or inside in seen:
            yield dotted, field
        else:
            yield from fields(inside, dotted + ".")
            seen += [inside] if named else []


def extra(field: FieldInfo | None) -> dict[str, Any]:
    """What `_key` says of a field besides its type, default and comment: allowed, otherwise, example, restart."""
    found = field.json_schema_extra if field else None
    return found if isinstance(found, dict) else {}
