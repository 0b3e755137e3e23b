"""Texts with personal data marked in them, «kind|as written», and texts that only look as if. Everybody in them is made up:
numbers come from reserved ranges where there are any, else from the check digit's arithmetic, worked out here once more."""

from __future__ import annotations

import re

MARKED = re.compile(r"«(\w+)\|([^»]*)»")


def plain(marked: str) -> tuple[str, list[tuple[int, int, str]]]:
    """The text without marks, and (start, end, kind) of each."""
    text, spans, end = "", [], 0
    for match in MARKED.finditer(marked):
        text += marked[end : match.start()]
        spans.append((len(text), len(text) + len(match[2]), match[1]))
        text, end = text + match[2], match.end()
    return text + marked[end:], spans


def luhn(body: str) -> str:
    """`body` with its check digit: every second digit from the right doubled, its digits summed."""
    total = sum(sum(divmod(int(d) * (2 if i % 2 == 0 else 1), 10)) for i, d in enumerate(reversed(body)))
    return body + str(-total % 10)


def resident(body: str) -> str:
    """A resident number's 17 digits with the check character of GB 11643."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(int(d) * w for d, w in zip(body, weights)) % 11]


def organisation(body: str) -> str:
    """A unified social credit code's 17 characters with the check character of GB 32100."""
    letters = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    return body + letters[-sum(letters.index(c) * pow(3, i, 31) for i, c in enumerate(body)) % 31]


def iban(country: str, account: str) -> str:
    """An IBAN with the check digits of ISO 13616."""
    number = "".join(str(int(c, 36)) for c in account + country + "00")
    return f"{country}{98 - int(number) % 97:02d}{account}"


def spaced(number: str, size: int = 4, gap: str = " ") -> str:
    return gap.join(number[i : i + size] for i in range(0, len(number), size))


def wide(text: str) -> str:
    """ASCII letters and digits full-width."""
    return "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c.isalnum() else c for c in text)


VISA, MASTER, AMEX = "4111111111111111", luhn("555555555555444"), luhn("37828224631000")
UNION, DEBIT19, DEBIT_OLD = luhn("622202123456789"), luhn("622848041012345678"), luhn("955880021234567890")
BEIJING, SHANGHAI, TAIWAN = resident("11010519491231002"), resident("31010419880229123"), resident("83000019900307423")
COMPANY, SCHOOL = organisation("91110000600037341"), organisation("12350100MB0Q12345")
GERMAN, BRITISH, FRENCH = iban("DE", "370400440532013000"), iban("GB", "WEST12345698765432"), iban("FR", "20041010050500013M02606")
MACHINE = "L898902C36UTO7408122F1204159ZE184226B<<<<<10"  # the specimen of ICAO 9303

POSITIVE = [
    # e-mail
    "Write to «email|jane.roe@example.com».", "«email|firstname+lastname@example.org», «email|email@subdomain.example.com»; x",
    "<«email|_______@example.com»>", "mailto:«email|a.b-c@example-one.com»?subject=hi", "IP mail «email|email@123.123.123.123» and «email|email@[123.123.123.123]»",
    "«email|1234567890@example.com»\n«email|email@example.name»\n«email|email@example.museum»\n«email|email@example.co.jp»",
    "«email|firstname-lastname@example.com»,«email|x@example.com»,«email|user%host@example.net»", "'«email|o'neil@example.com»'",
    "邮箱：«email|zhang.san@example.com»，请回复", "发送到«email|li_si88@example.cn»即可", "Адрес «email|почта@example.ru».",
    "José: «email|josé.garcía@example.es»", "e\u0301 «email|rene\u0301@example.fr»", "👩‍👩‍👧«email|mum@example.org»👍", "Mail me@home or «email|me@home.example.org».",
    "write to «email|jane.roe [at] example [dot] com» please", "«email|john(at)example.org»", "Ｅｍａｉｌ：«email|ｗａｎｇ＠ｅｘａｍｐｌｅ．ｃｏｍ»",
    "sip «email|joe@example.com».Then we left.", "<a href='mailto:«email|info@münchen.example.de»'>",
    # telephone
    "Call «phone|(212) 555-0147» today.", "Phone: «phone|+1 212 555 0147»", "tel «phone|212.555.0147», fax «phone|1-212-555-0148»",
    "My number is «phone|555-123-4567».", "Call «phone|2125550147» now", "UK: «phone|+44 20 7946 0958» or «phone|020 7946 0959»", "mobile «phone|07700 900123»",
    "reach me at «phone|+86 139 1234 5678»", "电话«phone|13912345678»联系", "手机:«phone|139-1234-5678»/«phone|13812345678»", "微信同号«phone|１３９１２３４５６７８»。",
    "«phone|010-62345678»转人事", "联系电话：«phone|（０２１）６２３４５６７８»", "热线«phone|400-820-8820»", "传真 «phone|0755-26531234-801»", "座机«phone|01062345678»",
    "致电«phone|+8613912345678»或«phone|(+86)13812345679»", "📱«phone|13912345678»📧", "Paris: «phone|+33 1 99 00 12 34»", "Dial «phone|+1 (650) 555-0199 ext. 12»",
    "Tel. «phone|555-0199»", "(«phone|201-555-0150» «phone|201-555-0151»)", "«phone|010-62345678» «phone|010-62345679»", "called «phone|(650) 555-0123» and «phone|(650) 555-0124»", "張三，手機 «phone|139 1234 5678»，住台北",
    # IP
    "from «ip|163.36.107.25» to «ip|8.8.4.4»", ".«ip|3.3.3.0»", "http://«ip|93.184.216.34»:8080/x", "服务器«ip|93.184.216.34»宕机", "[«ip|2001:4860:4860::8888»]",
    "«ip|2606:2800:220:1:248:1893:25c8:1946»/64", "«ip|2A00:1450:4001:81B::200E» answered", "IP：«ip|９３．１８４．２１６．３４»", "::ffff:«ip|93.184.216.34»",
    # credentials
    "postgres://«url_credentials|admin:hunter2»@db.example.com/x", "redis://«url_credentials|:p4ss»@localhost:6379", "https://«url_credentials|joe:p@ss:word»@example.com/",
    "https://example.com/cb?state=1&access_token=«url_credentials|Zm9vYmFyMTIzNDU2Nzg5»&x=1", "https://example.com/?password=«url_credentials|letmein»",
    "链接https://example.com/?api_key=«url_credentials|a1b2c3d4e5f6a7b8c9d0»，打开",
    # cards
    f"Card «credit_card|{VISA}» ok", f"«credit_card|{spaced(MASTER)}» exp 12/29", f"«credit_card|{MASTER[:4]}-{MASTER[4:8]}-{MASTER[8:12]}-{MASTER[12:]}»",
    f"Amex «credit_card|{AMEX[:4]} {AMEX[4:10]} {AMEX[10:]}».", f"信用卡号«credit_card|{UNION}»，", f"2024 «credit_card|{spaced(VISA)}» 12", f"«credit_card|{wide(VISA)}»",
    f"储蓄卡：«bank_card|{DEBIT19}»", f"卡号«bank_card|{spaced(DEBIT19)}»工商银行", f"工资卡«bank_card|{DEBIT_OLD}»", f"1,«credit_card|{VISA}»,«credit_card|{MASTER}»",
    # IBAN
    f"IBAN «iban|{GERMAN}»", f"«iban|{spaced(BRITISH)}» BIC X", f"compte «iban|{spaced(FRENCH)}»,", f"汇入«iban|{GERMAN}»账户", f"IBAN: «iban|{spaced(GERMAN)}» DEUTDEFF",
    # China
    f"身份证号«resident_id|{BEIJING}»。", f"身份证:«resident_id|{BEIJING.lower()}»", f"公民«resident_id|{SHANGHAI}»住上海", f"«resident_id|{BEIJING[:6]} {BEIJING[6:14]} {BEIJING[14:]}»",
    f"ID «resident_id|{wide(SHANGHAI)}»", f"居住证«resident_id|{TAIWAN}»", "身份证号码：«resident_id|110105491231002»（旧）", f"信用代码«uscc|{COMPANY}»", f"税号：«uscc|{SCHOOL}»有限公司", f"USCC {chr(171)}uscc|{wide(COMPANY)}»",
    # passports
    "Passport no. «passport|E12345678» issued", "护照号码：«passport|E12345678»", "護照 «passport|EA1234567»、«passport|G87654321»", "US passport number «passport|123456789»",
    f"P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\n«passport|{MACHINE}»", "他的护照是«passport|Ｇ１２３４５６７８»",
    # keys
    "key «api_key|AKIAIOSFODNN7EXAMPLE»", "«api_key|ghp_" + "aB3dE6gH9jK2" * 3 + "» leaked", "密钥«api_key|sk-proj-a1B2c3D4e5F6g7H8i9J0k1L2»。", "AIza: «api_key|AIza" + "Sy0aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF" + "»",
    "slack «api_key|xoxb-123456789012-abcdefABCDEF»", "«api_key|-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA0Z3VS5JJcds3\nxfn/ygWyF0\n-----END RSA PRIVATE KEY-----»\n",
    "Authorization: Bearer «api_key|eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJqYW5lIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ»", "密码：«api_key|abc12345»，别告诉别人", "password = \"«api_key|P4ssw0rd»\"",
    "client_secret: «api_key|9f8e7d6c5b4a39281706f5e4d3c2b1a0»", "口令是«api_key|tiger2024x»。", "aws_secret_access_key = «api_key|wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»", "«api_key|sk_live_4eC39HqLyjWDarjtT1zdp7dc»",
    # together
    f"张三，«phone|13912345678»，«email|zs@example.cn»，«resident_id|{SHANGHAI}»，卡«bank_card|{DEBIT19}»", "«email|a@example.com» «ip|93.184.216.34» «phone|+1 212-555-0147»",
]  # fmt: skip

NEGATIVE = [
    # e-mail
    '"email"@example.com', "email@example", "あいうえお@example.com", "@handle said @user.name", "5 @ 3 dollars", "icon@2x.png", "npm i left-pad@1.3.0", "a@b.c", "@app.route('/x')",
    "git@github.com:org/repo.git", "foo..@example..com", ".@example", "回复@张三：好的", "meet @ noon", "https://medium.com/@someone/x",
    # IP
    "999.999.999.999", "108.0.0.01", "0.1.2.3", "192.168.l.1", "10.1.2.3 172.16.0.9 192.168.1.254 127.0.0.1 169.254.3.4 100.64.1.1", "192.0.2.17 198.51.100.3 203.0.113.200 255.255.255.0 239.1.2.3",
    "v1.2.3.4", "version 8.8.4.4", "Version: 5.6.7.8", "firmware is 20.4.1.6", "版本8.1.2.3发布", "Chrome/23.4.5.6", "1.2.3.4.5.6", "3.1.4.2 Results of the Trial", "第5.1.2.3节", "::1", "fe80::1", "2001:db8::1", "12:30:45", "2024::1",
    "lib-4.3.2.1.tar.gz", "std::vector<int>::iterator", "1.2.3.4a", "OID 2.16.8.4",
    # URLs
    "https://example.com/a:b@c", "ssh://user@example.com/x", "https://example.com/?auth=required&session=winter", "https://example.com/?q=token", "https://example.com/?key=value", "ftp://example.com:21/x",
    # telephone and long numbers
    "2024-01-15 12:30:00", "15/01/2024", "1914-1918", "1914–1918 and 1939–1945", "ISBN 978-0-306-40615-7", "ISBN 0-306-40615-2", "ISSN 0317-8471", "doi:10.1000/182-2019.1234567", "$1,234,567.89", "¥12345678",
    "pi is 3.14159265358979323846", "population 1 234 567 890", "Order 2125550147 shipped", "订单号13912345678", "订单编号：202401151234567890", "timestamp 1700000000123", "id=13912345678901234", "pp. 211-227 (2003)",
    "0.13912345678", "A13912345678B", "RFC 2822", "2.5e-10", "Phil. Trans. 120 (1830) 1234", "chapter 12, verses 13-17", "第一百二十三回", "一九四九年十月一日", "共12345678元", "尺寸 1920x1080", "2012年12月31日", "邮编100084",
    "123e4567-e89b-12d3-a456-426614174000", "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709", "49.1234567, -122.7654321", "11 22 33 44 55 66", "0000 0000 0000 0000", "1234 5678 9012 3456", "学号2021012345678",
    "https://twitter.com/x/status/4111111111111111", "0.4111111111111111", "4111111111111111.5", "ABC4111111111111111", "lottery 03 14 15 92 65 35", "10.1109/5.771073", "US Patent 7,654,321", "part 555-0199-22", "Vol. 212, 555-567", "File:Final (16511337801).jpg", "https://example.com/13912345678.html", "row 212 555 0147 98", "12 0755 2653 1234",
    # identifiers whose check fails
    VISA[:-1] + "2", spaced(MASTER[:-1] + str((int(MASTER[-1]) + 1) % 10)), DEBIT19[:-1] + str((int(DEBIT19[-1]) + 3) % 10), GERMAN[:-1] + str((int(GERMAN[-1]) + 1) % 10),
    BEIJING[:-1] + "5", resident("11010519491331002"), resident("99010519491231002"), resident("11010517000101002"), COMPANY[:-1] + "A", "110105491231002", MACHINE[:-1] + "1", f"X{GERMAN}", f"{SHANGHAI}0",
    # passports and keys
    "the passport fee is $12000000", "E12345678", "passports were issued in 1998 to 1234567 people", "护照办理于20240115", "the passport, please", "sk-learn", "task-force-on-something-else-entirely", "ask-me-anything-about-this-or-that-thing",
    "password: required", "password=<PASSWORD>", "your token: string", "secret is out", "token: ${TOKEN}", "the secret: never give up", "密码：请输入", "eyJoe", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "tokens: 1234567 in total",
    "api_key = os.environ['API_KEY']",
    # letters of all sorts
    "Call me Ishmael. Some years ago—never mind how long precisely—", "滚滚长江东逝水，浪花淘尽英雄。", "👩‍👩‍👧‍👦 e\u0301\u0301\u0301 １２３ ٤٥٦", "ａ＠ｂ", "①②③④⑤⑥⑦⑧⑨", "〇一二三四五六七八九",
]  # fmt: skip
