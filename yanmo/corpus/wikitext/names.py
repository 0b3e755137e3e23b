"""The names that wikitext is known by: namespaces whose links vanish, languages, sections, variants, HTML and extension tags."""

from __future__ import annotations

import re


def listed(names: str, divider: str | None = None) -> list[str]:
    return [name.strip() for name in names.split(divider)]


# Links into these namespaces are no text: files with their captions, and categories. A dump's own names come on top.
REMOVED = frozenset(
    listed(
        """file image category 文件 檔案 档案 图像 圖像 图片 圖片 分类 分類 fichier catégorie datei bild kategorie archivo imagen
    categoría ficheiro imagem categoria immagine файл изображение категория ファイル 画像 カテゴリ 파일 그림 분류"""
    )
)

# The codes of Wikipedia's editions: [[fr:Paris]] stands in the margin and not in the text.
LANGUAGES = frozenset(
    listed(
        """aa ab ace ady af ak als am an ang ar arc ary arz as ast atj av avk awa ay az azb ba ban bar bat-smg bcl be be-tarask
    be-x-old bg bh bi bjn bm bn bo bpy br bs bug bxr ca cbk-zam cdo ce ceb ch cho chr chy ckb co cr crh cs csb cu cv cy da
    de din diq dsb dty dv dz ee el eml en eo es et eu ext fa ff fi fiu-vro fj fo fr frp frr fur fy ga gag gan gcr gd gl glk
    gn gom gor got gu gv ha hak haw he hi hif ho hr hsb ht hu hy hyw hz ia id ie ig ii ik ilo inh io is it iu ja jam jbo jv
    ka kaa kab kbd kbp kg ki kj kk kl km kn ko koi kr krc ks ksh ku kv kw ky la lad lb lbe lez lfn lg li lij lld lmo ln lo
    lrc lt ltg lv lzh mad mai map-bms mdf mg mh mhr mi min mk ml mn mnw mo mr mrj ms mt mus mwl my myv mzn na nah nan nap
    nds nds-nl ne new ng nia nl nn no nov nqo nrm nso nv ny oc olo om or os pa pag pam pap pcd pdc pfl pi pih pl pms pnb
    pnt ps pt qu rm rmy rn ro roa-rup roa-tara ru rue rw sa sah sat sc scn sco sd se sg sh shi shn shy si simple sk sl sm
    smn sn so sq sr srn ss st stq su sv sw szl szy ta tcy te tet tg th ti tk tl tn to tpi tr trv ts tt tum tw ty tyv udm ug
    uk ur uz ve vec vep vi vls vo wa war wo wuu xal xh xmf yi yo yue za zea zh zh-classical zh-cn zh-min-nan zh-tw zh-yue
    zu"""
    )
)

# Sections without prose of their own, by their casefolded heading.
SECTIONS = frozenset(
    listed(
        """references, external links, external link, see also, further reading, notes, footnotes,
        notes and references, references and notes, bibliography, sources, citations, works cited, gallery,
        参考文献, 參考文獻, 参考资料, 參考資料, 参考来源, 參考來源, 参考, 參考, 参考书目, 參考書目, 外部链接, 外部連結,
        外部鏈接, 外部连接, 外部連接, 注释, 註釋, 注釋, 备注, 備註, 脚注, 腳註, 注脚, 注腳, 参见, 參見, 參见, 参看, 參看,
        相关条目, 相關條目, 延伸阅读, 延伸閱讀, 扩展阅读, 擴展閱讀, 来源, 來源, 图集, 圖集""",
        ",",
    )
)

# Which text a -{…}- shows: the variant's own, else the nearest one's (as MediaWiki's LanguageZh falls back).
FALLBACKS = {
    "zh-hans": ("zh-hans", "zh-cn", "zh-sg", "zh-my", "zh", "zh-hant", "zh-tw", "zh-hk", "zh-mo"),
    "zh-cn": ("zh-cn", "zh-hans", "zh-sg", "zh-my", "zh", "zh-hant", "zh-tw", "zh-hk", "zh-mo"),
    "zh-sg": ("zh-sg", "zh-hans", "zh-cn", "zh-my", "zh", "zh-hant", "zh-tw", "zh-hk", "zh-mo"),
    "zh-hant": ("zh-hant", "zh-tw", "zh-hk", "zh-mo", "zh", "zh-hans", "zh-cn", "zh-sg", "zh-my"),
    "zh-tw": ("zh-tw", "zh-hant", "zh-hk", "zh-mo", "zh", "zh-hans", "zh-cn", "zh-sg", "zh-my"),
    "zh-hk": ("zh-hk", "zh-hant", "zh-mo", "zh-tw", "zh", "zh-hans", "zh-cn", "zh-sg", "zh-my"),
}

# Extension tags whose content is no wikitext: gone with it, or (VERBATIM) kept as it stands.
GONE = listed("""ref references gallery math chem ce timeline score hiero imagemap graph mapframe maplink templatedata
    templatestyles inputbox categorytree indicator style script includeonly syntaxhighlight source phonos""")
VERBATIM = ("nowiki", "pre")

# HTML tags, of which the content stays: those that end a line, and those within one.
BLOCK = listed("""br p div li ul ol dl dt dd tr td th table tbody thead tfoot caption blockquote hr center poem
    h1 h2 h3 h4 h5 h6""")
INLINE = listed("""abbr b bdi bdo big cite code data del dfn em font i ins kbd mark q rb rp rt rtc ruby s samp small span strike
    strong sub sup time tt u var wbr noinclude onlyinclude translate tvar languages section nobr""")

MAGIC = re.compile(r"__(?:[A-Z]{3,30}|无目录|無目錄|目录|目錄|强制目录|無段落編輯|无编辑段落|索引|不索引|消歧义|消歧義)__")

# A page that only leads to others; looked for where the recipe drops such pages.
DISAMBIGUATION = re.compile(
    r"\{\{ *(?:[A-Za-z ]{0,30}[ _-])?(?:disambig|disambiguation|disamb|dab|hndis|geodis|numberdis|mathdab|roaddis|shipindex)"
    r"(?:[ _-][A-Za-z ]{0,30})? *[|}]"
    r"|\{\{ *(?:[^{}|\n]{0,20})?消歧[义義]?(?:页|頁)? *[|}]"
    r"|__DISAMBIG__|__消歧[义義]__",
    re.IGNORECASE,
)
