"""A page's fingerprint stays where noise comes and goes, moves where the text does, and takes no time to make.

Pages are made here: a site's template, an article, and what changes between two looks at it.
"""

from __future__ import annotations

import re
import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedd.freshness import fingerprint as fp

HTML = "text/html; charset=utf-8"
NOUNS = re.findall(
    r"\w+",
    "council bridge river minister report price worker school storm coast boat expert study journal market farmer river"
    " engine museum village budget hospital train forest border election vaccine court garden island factory teacher"
    " judge satellite harbour glacier orchestra archive tunnel mayor painter sensor battery volcano crew contract jury",
)
VERBS = re.findall(
    r"\w+",
    "approved rejected found repaired closed praised measured doubled sold painted questioned warned delayed opened"
    " counted cleared welcomed feared published rebuilt rented saved halted ordered discussed ignored tested moved",
)
FILLERS = re.findall(
    r"[^|]+",
    "after a long debate|before the winter|in the northern district|according to two people|for the third year"
    "|without further comment|despite the costs|within a few weeks|near the old town|as neighbours looked on"
    "|against all advice|by a narrow margin|under the new rules|with help from volunteers|on the other side",
)


def sentence(random: Random) -> str:
    """Twelve words or so, sometimes in two clauses."""
    def clause() -> str:
        one, other = random.sample(NOUNS, 2)
        return f"the {one} of the {other} {random.choice(VERBS)} the {random.choice(NOUNS)} {random.choice(FILLERS)}"

    text = clause() if random.random() < 0.6 else f"{clause()}, and {clause()}"
    return text[0].upper() + text[1:] + "."


def article(seed: int, paragraphs: int = 5) -> tuple[str, list[str]]:
    """A headline and paragraphs, of four sentences each."""
    random = Random(seed)
    headline = sentence(random).split(",")[0].removesuffix(".")
    return headline, [" ".join(sentence(random) for _ in range(4)) for _ in range(paragraphs)]


def teaser(random: Random) -> str:
    return sentence(random).removesuffix(".")


TEMPLATES = {
    "semantic": (
        '<header><a href="/">The Daily Example</a>{nav}</header><main><article><h1>{headline}</h1>'
        '<p class="byline">By A. Writer</p>{text}</article></main>{related}{comments}{footer}'
    ),
    "divs": (
        '<div id="wrap"><div class="top"><ul class="menu">{nav}</ul></div><div class="col"><h1>{headline}</h1>'
        '<div class="story">{text}</div></div><div class="sidebar">{related}</div>{comments}<div id="footer">{footer}'
        "</div></div>"
    ),
    "one wrapper of a bad name": (
        '<div class="page with-sidebar"><nav>{nav}</nav><div><h1>{headline}</h1>{text}</div>{related}{comments}</div>'
        "{footer}"
    ),
}  # fmt: skip


def page(
    headline: str, paragraphs: list[str], noise: Random | None = None, template: str = "semantic", wrap: str = "p"
) -> bytes:
    """An article in its site's template, with the noise of one look at it; none without `noise`."""
    text = [f'<{wrap} class="text">{paragraph}</{wrap}>' for paragraph in paragraphs]
    nav = "".join(f'<li class="nav-item"><a href="/{name}">{name.title()}</a></li>' for name in NOUNS[:12])
    head = footer = related = comments = banner = ""
    if noise:
        number = noise.randrange(10**9)
        head = (
            f'<meta name="csrf-token" content="{noise.getrandbits(128):x}"><script nonce="{number}">window.t={number};'
            f'document.write("<p>{sentence(noise)} {sentence(noise)}</p>")</script><style>.a{number}{{top:0}}</style>'
            f"<!-- built in {number} ms <p>{sentence(noise)} {sentence(noise)}</p> -->"
        )
        banner = (
            f'<div class="cookie-banner" role="dialog"><div><p>We and our {noise.randint(99, 900)} partners use it.'
            f" {sentence(noise)} {sentence(noise)}</p></div><button>Accept</button></div>"
        ) * noise.randint(0, 1)
        for _ in range(noise.randint(1, 3)):
            advertisement = noise.choice([
                '<div class="ad-slot" id="ad_{n}"><div><p>{s} {t}</p></div></div>',
                '<aside aria-label="Advertisement"><p>{s} {t}</p></aside>',
                '<div data-n={n} class=advert><a href="/x?{n}"><img src="/{n}.jpg"> {s}</a></div>',
                '<iframe src="/ads/{n}"><p>{s} {t}</p></iframe>',
                '<section class="promo newsletter-signup"><h3>Get it</h3><p>{s} {t}</p><form><input></form></section>',
                '<div style="display: none"><p>{s} {t}</p></div>',
                '<p class="sponsored-text">{s} {t}</p>',
                "<ins class='adsbygoogle' data-ad-client='{n}'></ins><script>push({n})</script>",
            ]).format(n=number, s=sentence(noise), t=sentence(noise))
            text.insert(noise.randint(0, len(text)), advertisement)
        text.insert(0, f'<p>Updated <time datetime="{number}">{noise.randint(1, 59)} minutes ago</time></p>')
        text.insert(1,
        f'<div class="share-bar"><span>{noise.randint(1, 9999)} shares</span> <span>{number}</span></div>')
        related = '<aside class="related"><h2>More</h2>' + "".join(
            f'<div class="card"><a href="/{noise.randrange(9999)}"><b>{teaser(noise)}</b></a>'
            f"<p>{sentence(noise)}</p></div>"
            for _ in range(noise.randint(3, 8))
        ) + "</aside>"
        comments = '<section id="comments">' + "".join(
            f'<div class="c"><b>Reader {noise.randint(1, 99)}</b><p>{sentence(noise)} {sentence(noise)}</p></div>'
            for _ in range(noise.randint(0, 6))
        ) + "</section>"
        footer = f"<footer><p>© 2024 Example, page {number}, {sentence(noise)} {sentence(noise)}</p></footer>"
    body = TEMPLATES[template].format(
        nav=nav, headline=headline, text="\n".join(text), related=related, comments=comments, footer=footer
    )
    return (
        f"<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>{headline} | The Daily Example</title>{head}"
        f"</head><body>{banner}{body}</body></html>"
    ).encode()


def likeness(one: bytes, other: bytes) -> float:
    return fp.likeness(fp.fingerprint(one, HTML), fp.fingerprint(other, HTML))


# -- what does not move it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", TEMPLATES)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(3, 12))
@settings(max_examples=60, deadline=None)
def test_noise_does_not_move_it(template: str, seed: int, look: int, paragraphs: int) -> None:
    story = article(seed, paragraphs)
    plain = page(*story, template=template)
    noisy = page(*story, Random(look), template=template)
    again = page(*story, Random(look + 1), template=template)
    assert likeness(plain, noisy) == likeness(noisy, again) == 1.0


def test_space_numbers_case_of_tags_and_links_in_the_text_do_not_move_it() -> None:
    headline, paragraphs = article(1)
    one = page(headline, [f"{text} It cost 1,200 euros on 3 May." for text in paragraphs])
    other = page(headline, [f"{text}\n  It cost 99,999 euros on 17 May." for text in paragraphs])
    head, start, text = other.partition(b"<p class")
    other = head + (start + text).replace(b"<p class", b"<P\n class").replace(b" river ", b' <a href="/r">river</a>\n')
    assert fp.fingerprint(one, HTML) == fp.fingerprint(other, HTML)


def test_an_unmarked_advertisement_of_a_sentence_does_not_change_what_it_stands_for() -> None:
    for seed in range(200):
        headline, paragraphs = article(seed)
        looks = [page(headline, [*paragraphs, sentence(Random(seed + look)) * 2]) for look in (1000, 2000)]
        assert likeness(*looks) >= fp.SAME


def test_where_the_body_was_cut_matters_little() -> None:
    for seed in range(50):
        headline, paragraphs = article(seed, 400)
        whole = page(headline, paragraphs)
        noisy = page(headline, paragraphs, Random(seed))
        assert len(whole) > fp.MAX_BODY
        assert likeness(whole, noisy[: fp.MAX_BODY]) >= fp.SAME
        assert likeness(whole, whole[: fp.MAX_BODY - 2000]) >= fp.SAME


def test_what_follows_64_kib_is_not_looked_at() -> None:
    body = page(*article(1, 300))
    assert fp.read(body, HTML) == fp.read(body[: fp.MAX_BODY], HTML)


# -- what moves it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", TEMPLATES)
def test_another_article_of_the_same_site_is_another(template: str) -> None:
    for seed in range(100):
        one, other = (page(*article(number), Random(number), template) for number in (seed, seed + 1000))
        assert likeness(one, other) < 0.5


def test_a_rewritten_article_is_another() -> None:
    for seed in range(100):
        headline, paragraphs = article(seed)
        rewritten = article(seed + 1000)[1]
        assert likeness(page(headline, paragraphs), page(headline, rewritten)) < 0.5


def test_a_rewritten_paragraph_of_five_makes_another_and_one_of_twenty_does_not() -> None:
    def rewritten(seed: int, of: int) -> bool:
        headline, paragraphs = article(seed, of)
        other = [*paragraphs]
        other[seed % of] = article(seed + 1000, 1)[1][0]
        return likeness(page(headline, paragraphs), page(headline, other)) < fp.SAME

    assert sum(rewritten(seed, 5) for seed in range(300)) >= 290
    assert sum(rewritten(seed, 20) for seed in range(300)) <= 5


def test_a_page_of_links_is_known_by_them() -> None:
    def section(seed: int, changed: int = 0) -> bytes:
        titles = [teaser(Random(seed + (1000 if number < changed else 0) + number)) for number in range(30)]
        items = "".join(f'<div><a href="/{number}"><h3>{title}</h3></a></div>' for number, title in enumerate(titles))
        return f"<title>Section</title><h1>Section</h1>{items}".encode()

    assert likeness(section(1), section(1, changed=1)) >= fp.SAME > likeness(section(1), section(1, changed=10))
    assert likeness(section(1), section(100)) < 0.5


@pytest.mark.parametrize(("one", "other"), [
    ("市议会批准了这座桥的修复计划，经过长时间的辩论之后，工人们将在春天开始工作。专家们说这条河的水位正在上升。",
     "研究人员发现睡眠时间更长的人往往能记住更多的单词，这项研究发表在期刊上。部长拒绝对报告发表评论。"),
    ("Городской совет одобрил план ремонта моста после долгих споров. Рабочие начнут весной, сообщил мэр города.",
     "Учёные выяснили, что люди, которые спят дольше, запоминают больше слов. Исследование вышло в журнале."),
    ("สภาเมืองอนุมัติแผนซ่อมสะพานหลังจากการอภิปรายที่ยาวนาน คนงานจะเริ่มงานในฤดูใบไม้ผลิ",
     "นักวิจัยพบว่าคนที่นอนหลับนานกว่ามักจะจำคำศัพท์ได้มากกว่า การศึกษานี้ตีพิมพ์ในวารสาร"),
])  # fmt: skip
def test_it_knows_texts_of_any_script(one: str, other: str) -> None:
    bodies = [f"<h1>x</h1><p>{text}</p>".encode() for text in (one, other)]
    assert fp.same(*(fp.fingerprint(body, HTML) for body in (bodies[0], bodies[0] + b"<script>1</script>")))
    assert likeness(*bodies) < 0.5


def test_utf_16_is_read_as_far_as_it_is_ascii() -> None:
    headline, paragraphs = article(3)
    body = page(headline, paragraphs)
    wide = body.decode().encode("utf-16")
    assert fp.title(wide) == fp.title(body) == f"{headline} | The Daily Example"
    assert fp.same(fp.fingerprint(wide, ""), fp.fingerprint(body, ""))


# -- what is no page ---------------------------------------------------------------------------------------------------


def test_other_bytes_are_known_as_they_are() -> None:
    pdf, other = fp.fingerprint(b"%PDF-1.7 one", "application/pdf"), fp.fingerprint(b"%PDF-1.7 two", "application/pdf")
    assert len(pdf) == 16 and pdf != other
    assert fp.same(pdf, pdf) and fp.likeness(pdf, other) == 0.0
    assert fp.likeness(pdf, fp.fingerprint(page(*article(1)), HTML)) == 0.0


@pytest.mark.parametrize(("body", "content_type", "html"), [
    (b"<!DOCTYPE html><p>x", "", True), (b" \n<HTML>", "", True), (b"\xef\xbb\xbf<html>", "", True),
    (b"\xff\xfe<\0h\0t\0m\0l\0>\0", "", True), (b"<\0h\0t\0m\0l\0>\0", "", True), (b"<?xml?><rss/>", "", False),
    (b"<html>", "application/json", False), (b"x", "TEXT/HTML ; charset=x", True),
    (b"x", "application/xhtml+xml", True),
    (b"%PDF", "", False), (b"", "", False),
])  # fmt: skip
def test_a_page_is_told_by_the_header_or_else_by_its_beginning(body: bytes, content_type: str, html: bool) -> None:
    assert fp.is_html(body, content_type) is html


@pytest.mark.parametrize(("body", "content_type"), [
    (b"", ""), (b"", HTML), (b"", "image/png"), (b" \n ", HTML), (b"<title>App</title><div id=root></div>", HTML),
    (b"<title>App</title><noscript>You need to enable JavaScript.</noscript><script>run()</script>", HTML),
    (b"<title>A page</title><h1>x</h1>", HTML), (b"<p>1 2 3</p>", HTML), (b"<!-- <p>a paragraph</p>", HTML),
])  # fmt: skip
def test_there_is_none_for_what_has_no_text(body: bytes, content_type: str) -> None:
    assert fp.fingerprint(body, content_type) == b""
    assert not fp.same(b"", b"") and not fp.same(fp.fingerprint(page(*article(1)), HTML), b"")


# -- titles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "expected"), [
    (b"", ""), (b"<p>x", ""), (b"<title>A  b\n c</title>", "A b c"),
    (b"<TITLE lang=en>Q&amp;A &#8211; x</TITLE>", "Q&A – x"),
    (b"<title>Caf\xc3\xa9</title>", "Café"), (b"<title>Caf\xe9</title>", "Café"), (b"<titles>x</titles>", ""),
    (b'<meta charset="windows-1251"><title>\xcf\xf0\xe8</title>', "При"),
    (b"<meta charset=punycode><title>\xcf</title>", "Ï"), (b"<title>unclosed", "unclosed"), (b"<title", ""),
    (b"<title>" + b"x" * 5000, "x" * 300), (b"<svg><title>Icon</title></svg>", "Icon"),
])  # fmt: skip
def test_the_title_is_plain_text_on_one_line(body: bytes, expected: str) -> None:
    assert fp.title(body) == expected


def test_the_main_heading_is_read_too() -> None:
    assert fp.read(b"<h1>Page <b>not</b>\n found</h1><p>x</p>", HTML).heading == "page not found"
    assert fp.read(b"<h1>  </h1><p>x</p>", HTML).heading == ""


# -- any bytes ---------------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [b"<", b">", b"</", b"<!--", b"-->", b"<div>", b"</div>", b"<p", b"<p>", b"</p>", b"<script>", b"</script>",
    b"<nav>",
     b"</nav>", b'<div class="ad">', b"<span hidden>", b"</span>", b"<p class=ad>", b"<a>", b"</a>", b"<h1>", b"<main>",
     b"<title>", b"class='", b'"', b"hidden", b"&amp;", b"&#0;", b"A long enough clause. ", b"\xff", b"\0",
     "文字。".encode(),
     b"<svg", b"<time>", b"<textarea>", b"x" * 70]
)  # fmt: skip


@given(st.lists(PIECES | st.binary(max_size=8), max_size=60).map(b"".join), st.sampled_from([HTML, "", "text/plain"]))
@settings(max_examples=400, deadline=None)
def test_no_body_is_an_error_and_none_is_unlike_itself(body: bytes, content_type: str) -> None:
    read = fp.read(body, content_type)
    assert len(read.fingerprint) in (0, 16)
    assert fp.same(read.fingerprint, read.fingerprint) is bool(read.fingerprint)
    assert fp.fingerprint(body, content_type) == read.fingerprint and len(read.title) <= 300


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_likeness_is_symmetric_and_between_0_and_1(one: bytes, other: bytes) -> None:
    assert 0.0 <= fp.likeness(one, other) == fp.likeness(other, one) <= 1.0


def test_likeness_is_an_estimate_of_the_clauses_in_common() -> None:
    clauses = [f"{text} {number}" for number, text in enumerate(re.findall(r"[^.]+", " ".join(article(1, 60)[1])))]
    texts = [re.sub(r"\d", lambda match: "abcdefghij"[int(match[0])], clause) for clause in clauses]

    def of(some: list[str]) -> bytes:
        return fp.fingerprint("".join(f"<p>{text}</p>" for text in some).encode(), HTML)

    for size in (20, 40, 60):
        for changed in (0, 2, 4, 8):
            one, other = texts[:size], texts[changed : size + changed]
            assert abs(fp.likeness(of(one), of(other)) - (1 - changed / size)) < 0.1


# -- time --------------------------------------------------------------------------------------------------------------


def ms(body: bytes, repeats: int = 3) -> float:
    """The least processor time of several reads: others may be busy on this machine."""
    taken = []
    for number in range(repeats):
        started = time.thread_time()
        fp.read(body, f"text/html;{number}")  # never the same question twice
        taken.append(time.thread_time() - started)
    return min(taken) * 1e3


@pytest.mark.parametrize("piece", [
    b"<", b">", b"<div>", b"</div>", b"<!--", b"-->", b"<!-->", b"<script>", b"<nav>", b"</nav>", b"<nav></nav>",
    b"<a", b"<a>x",
    b"<svg", b'<div class="ad">', b'<div class="', b"<div class='class=\"", b"<p class=ad>", b"<span hidden>x",
    b"<title>",
    b"<title ", b"charset=", b"charset \t\t\t\t", b"class=\"", b"&amp;", b"&", b"a.", b" ", b"\0", "。".encode(),
    b"<h1>abcdefgh",
    b"<nav><aside><footer><time><svg>", b"<main><div class=ad>", b"display: ", b"<div class=ad ",
])  # fmt: skip
def test_hostile_bodies_take_time_in_proportion_to_their_length(piece: bytes) -> None:
    for prefix in (b"", b"<div ", b"<title>\xff"):
        whole = (prefix + piece * fp.MAX_BODY)[: fp.MAX_BODY]
        taken = ms(whole)
        assert taken < 80.0
        assert taken < 8 * ms(whole[: fp.MAX_BODY // 4]) + 5.0  # 4 if linear, 16 if not
