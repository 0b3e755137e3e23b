"""What the elements of a page hold, by what they are called: the text itself, or what stands around it.

The words are those that the authors of pages use for their classes and ids, in whole words and without regard to case.
"""

from __future__ import annotations

import re

from yanmo.corpus.web.tags import ARTICLE, ASIDE, BUTTON, CLOSING, FOOTER, FORM, HEADER, HEADING, MAIN, NAVIGATION, PARAGRAPH

NOTHING, AROUND, NAMED, HIDDEN, HEAD = 0, -1, -2, -3, -4  # around the text by its class, its tag; hidden; a header
LOOSE, ITEM_OF, BODY = 1, 2, 3  # the text, more and more surely
TRIES = 4  # elements of a kind that are looked at in vain for their ends, on one page
KNOWN, LONGEST = 50_000, 500  # tags remembered, and bytes of one

ATTRIBUTE = re.compile(
    rb"""[\s"'/](class|id|role|itemprop|style|hidden|data-testid|data-component)"""
    rb"""(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+)))?""",
    re.I,
)
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
ROLES = frozenset(
    ("navigation", "banner", "contentinfo", "complementary", "search", "dialog", "menu", "menubar", "form", "button", "toolbar")
)
SAYS = frozenset({"main", "article"})  # other roles that are words for what an element holds

OUTSIDE = r"""
    nav(?:bar|igation|box)? menu\w* sub-?nav bread-?crumbs? crumbs? site-?info skip\w* jump\w* toc pagination pager
    paging page-?nav\w* prev(?:ious)? next side-?bar\w* foot(?:er)?\w* head(?:er)?(?:bar|nav)? mast-?head top-?bar
    tool-?bar tool\w* utility controls? action\w* button\w* btn\w* icons? options? dropdown\w*
    comments?(?:list|s|area|-?list)? respond reply disqus\w* rating\w* vote\w* like\w* poll\w* quiz shar(?:e|ing)\w*
    social\w* soc follow\w* sharedaddy addtoany\w* addthis\w* jp-post-flair e-?mail\w* print\w* noprint ad ads advert\w*
    adsense banner\w* sponsor\w* promo\w* outbrain taboola\w* call-?to-?action cta donat\w* newsletter\w* subscri\w*
    sign-?up log-?in register contact\w* cookies?\w* consent gdpr pop-?up\w* modal\w* overlay alert\w* notice warning
    error\w* related\w* recommend\w* recirc\w* more-?(?:stories|news|articles|from) also similar\w*
    read-?(?:more|next|also) most-?(?:read|popular) popular\w* trending\w* latest\w* recent\w* timeline feed teasers?\w*
    links? linklist carousel\w* slider\w* slick swiper player\w* video\w* audio\w* download\w* thumb\w* caption\w*
    credit\w* attachment tags?(?:-?(?:list|cloud|links|s))? keywords categor\w* cat-?links by-?line\w* author\w*
    about-author post-?meta entry-?meta meta(?:data|info)? date(?:line)? posted-on published copyright legal
    disclaimer\w* imprint search\w* screen-reader\w* sr-only visually-?hidden invisible infobox mw-editsection reflist
    catlinks hatnote
"""
SURELY_OUTSIDE = r"teaser\w* card related\w* promo\w* comments? recommend\w* hidden"  # even where the tag says `article`
TEXT = re.compile(
    r"article-?_*(?:body|text|content|copy|main|inner)"
    r"|(?:post|entry|story|blog|single|news|page|body|field--name|td-post|pf|main|text|thecontent|postarea|contents?|detail|wysiwyg)"
    r"[-_]*(?:content|body|text|entry|bodytext)"
    r"|storybody|story-?text|(?:^|\s)(?:entry|articletext|the-?content|rich-?text|postbody|mw-parser-output|prose)(?=$|[\s_-])"
)


def _words(listed: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|[\s_-])(?:{'|'.join(listed.split())})(?=$|[\s_\d-])")


AROUND_WORDS, SURE_WORDS = _words(OUTSIDE), _words(SURELY_OUTSIDE)
ITEM_WORDS = _words("article post story hentry blog-?post news-?item entry")
LOOSE_WORDS = _words("main content contents main-?content primary inhalt center text")

known: dict[bytes, int] = {}  # what tags hold, as found before


def held(tag: bytes, kind: int) -> int:
    """What an element holds, by its opening tag: one of the numbers above, below zero for what stands around the text."""
    found = _held(tag, kind)
    if len(tag) <= LONGEST:  # not a picture in an attribute
        if len(known) >= KNOWN:
            known.clear()
        known[tag] = found
    return found


def _held(tag: bytes, kind: int) -> int:
    words: list[str] = []
    for name, *values in ATTRIBUTE.findall(tag):
        value = b"".join(values).decode("latin-1")
        match name.lower():
            case b"hidden":
                return HIDDEN
            case b"style":
                if "display:none" in value.replace(" ", "").lower():
                    return HIDDEN
            case b"role":
                role = value.strip().lower()
                if role in ROLES:
                    return NAMED
                words += SAYS & {role}
            case _:
                words.append(CAMEL.sub("-", value).lower())
    if kind == HEADER:
        return HEAD
    if kind in (NAVIGATION, ASIDE, FOOTER, FORM, BUTTON):
        return NAMED
    text = " ".join(words)
    if TEXT.search(text):
        return BODY
    if (SURE_WORDS if kind in (ARTICLE, MAIN) else AROUND_WORDS).search(text):
        return AROUND
    if kind == ARTICLE or ITEM_WORDS.search(text):
        return ITEM_OF
    return LOOSE if kind == MAIN or LOOSE_WORDS.search(text) else NOTHING


class Ends:
    """Finds where the elements of one page end, in steps that are no more than a few times its tags.

    `codes`: a byte a tag, its kind and whether it closes. An element ends where as many of its name have closed as opened;
    a paragraph or heading at the next of its name. One without an end is none: its page is read as if it were not there."""

    def __init__(self, codes: bytes, first: int, stop: int):
        self.codes, self.stop = codes, stop
        self.left = 1000 + 8 * (stop - first)
        self.vain: dict[int, int] = {}

    def of(self, number: int, kind: int) -> int:
        """The number of the tag that ends the element that tag `number` opens; -1 where none does."""
        codes, stop = self.codes, self.stop
        if kind in (PARAGRAPH, HEADING):
            closes, opens = codes.find(kind | CLOSING, number + 1, stop), codes.find(kind, number + 1, stop)
            self.left -= 1
            return min(end if end >= 0 else stop for end in (closes, opens))
        if self.left <= 0 or self.vain.get(kind, 0) >= TRIES:
            return -1
        open_, at = 1, number + 1
        while (end := codes.find(kind | CLOSING, at, stop)) >= 0:
            open_ += codes.count(kind, at, end) - 1
            self.left -= 1 + (end - at >> 6)
            if open_ <= 0:
                return end
            at = end + 1
        self.left -= stop - at >> 6
        self.vain[kind] = self.vain.get(kind, 0) + 1
        return -1
