"""The quicker selectors find what the expressions themselves find."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree, html
from trafilatura.settings import BASIC_CLEAN_XPATH

from tests.corpus.crawl import page, paragraphs
from yanmo.corpus.web.selectors import Selector, Union, quicker

REGEXP = {"re": "http://exslt.org/regular-expressions"}
EXPRESSIONS = [
    ".//*[self::div or self::p][re:test(@class, '^nav|menu( |$)') or @data-x or contains(@id, 'foot')]",
    ".//*[self::div or self::p or self::span][ contains(translate(@role, 'N', 'n'), 'nav') or re:test(@id|@class, 'a(?!b)|x') or re:test(@id, 'share', 'i')]",
    ".//*[@class='a b' or starts-with(@id|@class, 'menu') or re:test(@id|@style, 'hidden|n') or re:test(@class, ' hide|b$') or @aria-hidden='true']",
    "(.//*[self::div or self::p][@id='menu' or re:test(@class, 'nav')])[1]",
    ".//*[self::div or self::p][re:test(@id, 'm|s') or re:test(@class, 'nav')][not(.//span) or re:test(@id, 'menu')]",
    ".//*[self::div or self::span][re:test(@id, 'm|s') or re:test(@class, 'nav')][1]",
]
VALUES = ["", "a", "ab", "a b", "nav", "Nav", "menu", "menu hide", "share", "SHARE", "hidden", "footer", "xb", "n\nmenu", "天 nav"]


UNION = ".//aside|.//div[contains(@class|@id, 'foot')]|.//span|.//*[re:test(@class, 'nav|x', 'i') or re:test(@id, 'menu')]"


def made(path):
    return etree.XPath(path, namespaces=REGEXP)


def tree_of(nodes):
    root = html.Element("body")
    elements = [root]
    for parent, tag, attributes in nodes:
        element = etree.SubElement(elements[parent % len(elements)], tag)
        for name, value in attributes:
            element.set(name, value)
        elements.append(element)
    root.append(etree.Comment("class=nav"))
    return root


@pytest.mark.parametrize("path", EXPRESSIONS)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["div", "p", "span", "b"]),
                          st.lists(st.tuples(st.sampled_from(["id", "class", "style", "role", "data-x", "aria-hidden", "href"]), st.sampled_from([*VALUES, "true"])),
                                   max_size=4, unique_by=lambda pair: pair[0])), max_size=25))  # fmt: skip
def test_the_same_elements_in_the_same_order(path, nodes):
    expression, tree = made(path), tree_of(nodes)
    quick = quicker(expression)
    assert isinstance(quick, Selector)
    assert quick(tree) == expression(tree)
    for element in tree.iterdescendants("*"):
        assert quick(element) == expression(element)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["div", "p", "span", "aside"]),
                          st.lists(st.tuples(st.sampled_from(["id", "class"]), st.sampled_from(VALUES)), max_size=2, unique_by=lambda pair: pair[0])), max_size=25))  # fmt: skip
def test_a_union_finds_each_element_once(nodes):
    expression, tree = made(UNION), tree_of(nodes)
    quick = quicker(expression)
    assert isinstance(quick, Union)
    found = quick(tree)
    assert len(found) == len(set(found))
    assert set(found) == set(expression(tree))


@pytest.mark.parametrize("path", [
    ".//*[self::div][re:test(@class, 'a*')]", ".//*[self::div][re:test(@class, 'a') and @id]", ".//*[re:test(., 'a')]", ".//div[re:test(@class, 'a')]",
    ".//p|.//*[re:test(@class, 'a*')]", ".//p|.//*[re:test(@class, 'a')][1]", ".//*[re:test(@class, 'a')]|.//*[re:test(@id, 'a')]",
    ".//article", "//*[re:test(@class, 'a')]", ".//*[not(re:test(@class, 'a'))]", ".//*[self::div][re:test(@class, 'a  b')]", ".//*[re:test(@class, 'a') or .//p]",
])  # fmt: skip
def test_what_is_not_understood_stays_as_it_is(path):
    expression = made(path)
    assert quicker(expression) is expression


def test_every_expression_of_trafilatura_on_pages():
    """Each expression evaluated both ways on pages with attributes drawn from the words that the expressions look for."""
    import importlib.util

    spec = importlib.util.find_spec("trafilatura.xpaths")
    xpaths = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(xpaths)  # a copy of its own, whatever was made quicker before
    expressions = [one for value in vars(xpaths).values() if isinstance(value, list) for one in value if isinstance(one, etree.XPath)]
    pairs = [(one, quicker(one)) for one in expressions]
    cleaning = BASIC_CLEAN_XPATH
    assert isinstance(quicker(cleaning), Union)
    assert sum(quick is not one for one, quick in pairs) >= 8
    rng = random.Random(0)
    words = sorted({word for one in [*expressions, cleaning] for word in one.path.replace("|", "'").split("'") if word.strip().isprintable() and len(word) < 25})
    for i in range(30):
        tree = html.document_fromstring(page("t", paragraphs(i)))
        for _ in range(150):
            parent = rng.choice(list(tree.iter("div", "p", "section", "body", "article")))
            child = etree.SubElement(parent, rng.choice(["div", "section", "p", "span", "list", "item", "ol", "details", "aside", "main", "h1"]))
            for name in rng.sample(["id", "class", "style", "role", "itemprop", "data-component"], rng.randint(0, 3)):
                child.set(name, " ".join(rng.choices(words, k=rng.randint(1, 2))))
        for one, quick in pairs:
            assert quick(tree) == one(tree), one.path
        assert set(quicker(cleaning)(tree)) == set(cleaning(tree))
