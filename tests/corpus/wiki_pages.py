"""Wiki pages written for the tests after the manner of real ones, and dumps made of them."""

from __future__ import annotations

import bz2
import gzip
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

LIGHTHOUSE = """{{Short description|Lighthouse in the imaginary harbour of Aldmouth}}
{{Infobox lighthouse
| name        = Aldmouth Light
| image       = Aldmouth Light.jpg <!-- a better one is wanted -->
| coordinates = {{coord|50|12|N|3|40|W|display=inline,title}}
| height      = {{convert|31|m|ft|0|abbr=on}}
| first_lit   = {{start date and age|1821}}
}}
'''Aldmouth Light''' ({{lang-fr|Phare d'Aldmouth}}; {{IPAc-en|ˈ|ɔː|l|d}}) is a [[lighthouse]] on the southern shore of [[Aldmouth (town)|Aldmouth]], [[England]].<ref name="history">{{cite book |last=Marsh |first=Ellen |title=Lights of the South |year=1998 |page=[http://example.org/p 12]}}</ref> It stands {{convert|31|m|ft}} above the sea and was first lit in 1821&nbsp;– the year of a great storm.<ref name="history" /> It is one of the oldest [[lighthouse]]s still in use.{{citation needed|date=May 2011}}

[[File:Aldmouth Light at night.jpg|thumb|left|upright=1.2|The tower at night, seen from the [[North Quay (Aldmouth)|quay]] with its ''[[Fresnel lens]]''<ref>A caption's note</ref>]]

== History ==
{{main|History of Aldmouth}}
The first tower was built of timber by the merchant ''Josiah Hale'' in 1702. It burned down within ten years; the second, of stone, lasted until 1819.<!-- Hale's own diary says 1818 --> Its keeper wrote that "the sea took {{nowrap|the whole of it}} in one night".

=== The present tower ===
Work began in spring 1820 under [[John Rennie the Elder|John Rennie]].<ref>[http://example.org/rennie Rennie's drawings]</ref> The granite came from quarries at [[Penryn, Cornwall|Penryn]], {{convert|12|to|15|mi|km}} away, and the lamp burned [[whale oil]] at first:
* from 1821 to 1846, whale oil
* from 1846 to 1902, [[colza oil]]
** with two wicks, then four
* since 1902, [[electricity]]

{| class="wikitable sortable" style="float:right"
|+ Keepers
! Name !! From !! To
|-
| [[Ann Pell]] || 1821 || 1840
|-
| colspan="2" | Tom Pell || 1861
|}

== Optics ==
The focal length ''f'' of the lens follows from <math>\\frac{1}{f} = (n-1)\\left(\\frac{1}{R_1}\\right)</math> and is 0.92 m. Its flash is described as <code>Fl(3) W 20s</code>.

<gallery>
File:Lens one.jpg|The lens
File:Lens two.jpg|[[Lamp]]
</gallery>

== Gallery ==
<gallery>File:a.jpg|b</gallery>

== See also ==
* [[List of lighthouses in England]]

== References ==
{{reflist|30em}}

== External links ==
* [http://example.org/aldmouth Aldmouth Light], the official site

{{Lighthouses of England}}
{{DEFAULTSORT:Aldmouth Light}}
[[Category:Lighthouses in England]]
[[Category:1821 establishments]]
[[fr:Phare d'Aldmouth]]
[[zh:奥德茅斯灯塔]]
"""

LIGHTHOUSE_TEXT = """Aldmouth Light (Phare d'Aldmouth) is a lighthouse on the southern shore of Aldmouth, England. It stands 31 m above the sea and was first lit in 1821 – the year of a great storm. It is one of the oldest lighthouses still in use.

History

The first tower was built of timber by the merchant Josiah Hale in 1702. It burned down within ten years; the second, of stone, lasted until 1819. Its keeper wrote that "the sea took the whole of it in one night".

The present tower

Work began in spring 1820 under John Rennie. The granite came from quarries at Penryn, 12 to 15 mi away, and the lamp burned whale oil at first:
from 1821 to 1846, whale oil
from 1846 to 1902, colza oil
with two wicks, then four
since 1902, electricity

Optics

The focal length f of the lens follows from and is 0.92 m. Its flash is described as Fl(3) W 20s."""

MOUNTAIN = """{{NoteTA
|G1=地理
|1=zh-hans:激光;zh-hant:雷射;
}}
{{山峰信息框
| 名称 = 青云山
| 图片 = [[File:Qingyun.jpg|250px]]
| 海拔 = {{convert|1842|m|ft}}
}}
'''青云山'''（{{lang-en|Mount Qingyun}}，{{lang|la|Mons Nubium}}），位于[[安徽省]]南部，海拔1842米，是-{zh-hans:长江;zh-hant:長江}-以南的名山之一<ref>{{cite web|url=http://example.org/山|title=青云山志|language=zh}}</ref>。山中多[[云海 (气象)|云海]]，有“-{A|zh-cn:云雾之乡;zh-tw:雲霧之鄉}-”之称。

[[文件:青云山云海.jpg|缩略图|右|青云山的[[云海]]，摄于-{zh-hans:凌晨;zh-hant:清晨}-]]

== 历史 ==
{{main|青云山历史}}
[[唐朝|唐代]][[诗人]]{{link-en|李远游|Li Yuanyou}}曾三次登山，留下“白云深处有人家”的句子{{来源请求|time=2012-05-01}}。[[元朝|元]]末毁于战火，[[明朝]][[洪武]]年间重建。{{bd|1368年||1398年|}}

=== 当代 ===
1987年起，山上建有气象站，观测用的-{T|zh-hans:激光;zh-hant:雷射}-雷达每十分钟记录一次[[风速]]。
# 北坡：{{le|松树|Pine}}林
# 南坡：竹林

{| class="wikitable"
! 年份 !! 游客
|-
| 2001 || 12万
|}

== 参考文献 ==
{{reflist}}

== 外部链接 ==
* [http://example.org/qingyun 青云山官方网站]

{{安徽山峰}}
[[Category:安徽山峰|Q]]
[[分类:中国名山]]
[[en:Mount Qingyun]]
"""

MOUNTAIN_TEXT = """青云山（Mount Qingyun，Mons Nubium），位于安徽省南部，海拔1842米，是长江以南的名山之一。山中多云海，有“云雾之乡”之称。

历史

唐代诗人李远游曾三次登山，留下“白云深处有人家”的句子。元末毁于战火，明朝洪武年间重建。（1368年—1398年）

当代

1987年起，山上建有气象站，观测用的雷达每十分钟记录一次风速。
北坡：松树林
南坡：竹林"""

HARBOUR = """'''Harbour''' may refer to:
* [[Harbor]], a place where ships shelter
* ''[[Harbour (novel)|Harbour]]'', a novel

{{disambiguation}}
"""


@dataclass(frozen=True)
class Page:
    title: str
    text: str
    ns: int = 0
    redirect: str | None = None
    model: str = "wikitext"

    def xml(self, number: int) -> str:
        redirect = f'    <redirect title="{escape(self.redirect)}" />\n' if self.redirect else ""
        return (
            f"  <page>\n    <title>{escape(self.title)}</title>\n    <ns>{self.ns}</ns>\n    <id>{number}</id>\n{redirect}"
            f"    <revision>\n      <id>{number + 900}</id>\n      <timestamp>2024-05-0{number % 9 + 1}T10:20:30Z</timestamp>\n"
            "      <contributor>\n        <username>An Editor</username>\n        <id>7</id>\n      </contributor>\n"
            f"      <comment>/* {escape('<page> & </page>')} */</comment>\n"
            f"      <model>{self.model}</model>\n      <format>text/x-wiki</format>\n"
            f'      <text bytes="{len(self.text.encode())}" xml:space="preserve">{escape(self.text)}</text>\n'
            "      <sha1>abc</sha1>\n    </revision>\n  </page>\n"
        )


ENGLISH = [
    Page("Aldmouth Light", LIGHTHOUSE),
    Page("Aldmouth lighthouse", "#REDIRECT [[Aldmouth Light]]\n", redirect="Aldmouth Light"),
    Page("Talk:Aldmouth Light", "== Height ==\nIs it 31 m? [[User:A|A]]", ns=1),
    Page("Harbour (disambiguation)", HARBOUR),
    Page("Template:Lighthouses of England", "{{navbox|title=Lighthouses}}", ns=10),
    Page("Tide table", "{{Infobox|a=b}}\n{| \n| x\n|}"),
    Page("Emoji & <signs>?", "'''Signs''' such as 👩‍👩‍👧‍👦, e\u0301 and नमस्ते are [[emoji|“signs”]] &amp; more: 5 &lt; 6."),
    Page("MediaWiki:Common.css", "body { color: red }", model="css"),
]
CHINESE = [
    Page("青云山", MOUNTAIN),
    Page("青雲山", "#重定向 [[青云山]]", redirect="青云山"),
    Page("Talk:青云山", "海拔是多少？", ns=1),
    Page("长江 (消歧义)", "'''长江'''可以指：\n* [[长江]]\n{{消歧义}}"),
]

SITES = {
    "en": '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">\n  <siteinfo>\n    <sitename>Wikipedia</sitename>\n'
    "    <dbname>enwiki</dbname>\n    <base>https://en.wikipedia.org/wiki/Main_Page</base>\n    <generator>MediaWiki 1.43</generator>\n"
    '    <case>first-letter</case>\n    <namespaces>\n      <namespace key="-2" case="first-letter">Media</namespace>\n      <namespace key="0" case="first-letter" />\n'
    '      <namespace key="1" case="first-letter">Talk</namespace>\n      <namespace key="6" case="first-letter">File</namespace>\n'
    '      <namespace key="10" case="first-letter">Template</namespace>\n      <namespace key="14" case="first-letter">Category</namespace>\n    </namespaces>\n  </siteinfo>\n',
    "zh": '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="zh">\n  <siteinfo>\n    <sitename>Wikipedia</sitename>\n'
    "    <dbname>zhwiki</dbname>\n    <base>https://zh.wikipedia.org/wiki/Wikipedia:%E9%A6%96%E9%A1%B5</base>\n"
    '    <namespaces>\n      <namespace key="0" case="first-letter" />\n      <namespace key="1" case="first-letter">Talk</namespace>\n'
    '      <namespace key="6" case="first-letter">File</namespace>\n      <namespace key="14" case="first-letter">Category</namespace>\n    </namespaces>\n  </siteinfo>\n',
}  # fmt: skip
END = "</mediawiki>\n"


def xml(pages: list[Page], language: str = "en") -> str:
    return SITES[language] + "".join(page.xml(number) for number, page in enumerate(pages, 1)) + END


def multistream(path: Path, pages: list[Page], language: str = "en", each: int = 2, index: bool = True) -> list[int]:
    """A multistream dump, `each` pages a stream, with its index; where its streams begin."""
    streams = [SITES[language]]
    numbered = list(enumerate(pages, 1))
    groups = [numbered[i : i + each] for i in range(0, len(numbered), each)]
    streams += ["".join(page.xml(number) for number, page in group) for group in groups] + [END]
    data, starts = b"", []
    for stream in streams:
        starts.append(len(data))
        data += bz2.compress(stream.encode())
    path.write_bytes(data)
    if index:
        rows = [f"{start}:{number}:{page.title}" for start, group in zip(starts[1:], groups) for number, page in group]
        name = path.name.replace("-multistream", "-multistream-index").replace(".xml", ".txt")
        path.with_name(name).write_bytes(bz2.compress(("\n".join(rows) + "\n").encode()))
    return starts


def write(folder: Path, form: str, pages: list[Page], language: str = "en") -> Path:
    """A dump in one of the forms 'plain', 'gzip', 'bz2', 'multistream', 'bare multistream' (without an index)."""
    folder.mkdir(parents=True, exist_ok=True)
    content = xml(pages, language).encode()
    if "multistream" in form:
        path = folder / f"{language}wiki-1-pages-articles-multistream.xml.bz2"
        multistream(path, pages, language, index=form == "multistream")
        return path
    path = folder / {"plain": "dump.xml", "gzip": "dump.xml.gz", "bz2": "dump.xml.bz2"}[form]
    path.write_bytes({"plain": bytes, "gzip": gzip.compress, "bz2": bz2.compress}[form](content))
    return path


FORMS = ("plain", "gzip", "bz2", "multistream", "bare multistream")
