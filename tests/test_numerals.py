"""Numbers as they are spelled in English, Korean, French, German and Hindi-English: right or refused, none wrong."""

# ruff: noqa: E501 - tables

from __future__ import annotations

from decimal import Decimal

import pytest

from fewshot.errors import OutputError
from fewshot.outputs.kinds import Number

RIGHT = """
5 million = 5000000 | 2.5 million = 2500000 | $5m = 5000000 | $2.5bn = 2500000000 | 5k = 5000 | 5K = 5000 | 3M = 3000000
$1.2 billion = 1200000000 | 5 thousand = 5000 | five thousand = 5000 | two dozen = 24 | a dozen = 12 | 2 dozen eggs = 24
3 hundred = 300 | twelve hundred = 1200 | one million two hundred thousand = 1200000 | 1 million 200 thousand = 1200000
2.5 trillion = 2500000000000 | five = 5 | twenty-five = 25 | one hundred and five = 105 | minus five = -5 | -5 = -5
three point one four = 3.14 | three point five million = 3500000 | 1,234,567 = 1234567 | 1,234.50 = 1234.50 | 50% = 50
50 percent = 50 | $99.99 = 99.99 | 1/2 = 0.5 | 3 1/2 = 3.5 | 2½ = 2.5 | 5 apples = 5 | 5 km = 5 | 300 m = 300 | 5G = 5
about 20 people = 20 | a few hundred dollars, 250 in all = 250 | 7 miles = 7 | 7 cents = 7 | The answer is 4 million. = 4000000
₹5 crore = 50000000 | zero = 0 | 10 = 10 | the number is 42 = 42 | 5'000 = 5000 | 1_000 = 1000 | 1 000 000 = 1000000
5만원 = 50000 | 5만 원입니다 = 50000 | 10만원 = 100000 | 약 2만 명 = 20000 | 3천 = 3000 | 정답은 3천5백입니다 = 3500 | 3천5백 = 3500
5만 3천원 = 53000 | 1억 2000만 = 120000000 | 1억2,345만6,789원 = 123456789 | 2.5만 = 25000 | 1,234만 명 = 12340000
3조 5천억원 = 3500000000000 | 만오천원 = 15000 | 삼천오백 = 3500 | 이십오 = 25 | 백 원 = 100 | 천 원입니다 = 1000 | 만 원 = 10000
스물다섯 = 25 | 열두 개 = 12 | 두 개 = 2 | 세 명 = 3 | 다섯 = 5 | 십오 = 15 | 삼천오백 원입니다 = 3500 | 일억 이천만 = 120000000
칠십팔 = 78 | 육백만 = 6000000 | 정답은 스물입니다 = 20 | 3백만 달러 = 3000000 | 25만5천 = 255000 | 사과 다섯 개 = 5 | 한 명 = 1
2만5천 원 = 25000 | 답은 4입니다. = 4 | 4명입니다 = 4 | 5천만 원 = 50000000 | 천만 원 = 10000000 | 백오십 = 150 | 오백 원 = 500
이천이십육 = 2026 | 서른둘 = 32 | 아흔아홉 = 99 | 12,000원 = 12000 | 50퍼센트 = 50 | 총 7개 = 7 | 정답: 9 = 9
5만3,200 = 53200 | 육만 오천 = 65000 | 팔천구백 = 8900 | 여섯 명 = 6 | 스무 살 = 20 | 마흔두 살 = 42 | 2억 = 200000000
5万元 = 50000 | 1.2亿 = 120000000 | 三千五百 = 3500 | 二十 = 20 | 两百 = 200 | 一百零五 = 105 | 十五 = 15 | 1億2000万円 = 120000000
5千克 = 5 | 答案是4 = 4 | 3億円 = 300000000 | 二十五 = 25
5 millions = 5000000 | 2,5 millions d'euros = 2500000 | 3 milliards = 3000000000 | 5 mille = 5000 | 12 douzaines = 144
3 douzaines d'œufs = 36 | 12,50 € = 12.50 | 1 234 567 = 1234567 | 25 % = 25 | La réponse est 42. = 42
2 centaines = 200 | six millions = 6000000 | 5 euros = 5 | environ 30 personnes = 30 | −7 = -7 | 3 k€ = 3000
5 Millionen = 5000000 | 2,5 Millionen Euro = 2500000 | 3 Milliarden = 3000000000 | 2 Billionen = 2000000000000 | 5 Tausend = 5000
5 Mio. Euro = 5000000 | 3 Mrd. € = 3000000000 | 3 Mrd = 3000000000 | 5 Dutzend = 60 | 12,5 % = 12.5 | 1.234.567 = 1234567
1.234,50 € = 1234.50 | 20 Prozent = 20 | Die Antwort ist 42. = 42 | 3 Hundert = 300 | 5 Tsd = 5000 | 1,5 Mrd. = 1500000000
5 lakh = 500000 | 5 lakhs = 500000 | 2.5 lakh = 250000 | 5 crore = 50000000 | 1.5 crores = 15000000 | 5 lac = 500000
Rs. 5 lakh = 500000 | ₹5L = 500000 | 5 Cr = 50000000 | ₹2.5 Cr = 25000000 | 1 lakh 50 thousand = 150000 | 5lakh = 500000
2 crore 50 lakh = 25000000 | five lakh = 500000 | two crore fifty lakh = 25000000 | five lakh twenty thousand = 520000 | USD 5m = 5000000 | 5m = 5
12,34,567 = 1234567 | ₹1,50,000 = 150000 | 5 hazaar = 5000 | 10 hazar rupees = 10000 | Rs 500 = 500 | ek nahi, 5 = 5
"""
REFUSED = """
5 bn | 5 tn | 2 trn | 3 mlrd | 2 mld | 2 thou | 2 dz | 3 doz | 20 fold | 8 myriad
5 zillion | hundred and five | two hundred 50 | 5 gazillion | three score | 5 gross | 5 billions | half a million | half a dozen | quarter million | two and a half
5 and a half million | two thirds | three quarters | 2 and a half | 300 K | 5 M | 12 thousand 500 | point five | one third
5조각 | 3천사 | 제5조 | 천사 | 두 시간 반 | 4분의 3 | 3시간 반 | 5만두 | 이만 줄입니다 | 수백만 명 | 몇천 명 | 2만에서 3만 | 3만~5만원 | 반
5兆 | 삼백육십오일 | 1 234,56 € | 三千克 | 5 тысяч | 3 млн | 5 हज़ार | 2 लाख | 5 mil | 3 milhões | 5 miles de millones | cinco
deux mille | cinq cents | vingt-cinq | trente-six | soixante-six | cent six | six cents | deux mille 500 | trois millions
une douzaine | 2 et demi | deux et demi | un demi-million | quatre-vingt-six | mille neuf cent | 5 demi | 3 trillions de
zwei Millionen | eine Million | eine halbe Million | fünf | fünfundzwanzig | 2 einhalb | anderthalb Millionen | 1 Billion
1.234 Euro | 1.234 € | 1.234 Menschen | 3 Viertel | zweitausend | drei Dutzend | 5 Trillionen | 5 Billiarden
dhai lakh | do lakh | paanch hazaar | dedh crore | sava lakh | 5 arab | 3 kharab | ek lakh | saade teen hazaar | 2 sau
"""


def cases() -> list[tuple[str, str]]:
    found = [case.strip().rpartition(" = ") for line in RIGHT.strip().splitlines() for case in line.split("|")]
    return [(said, number) for said, _, number in found]


def refused() -> list[str]:
    return [case.strip() for line in REFUSED.strip().splitlines() for case in line.split("|")]


def test_there_are_enough_spellings() -> None:
    assert len(cases()) + len(refused()) >= 200


@pytest.mark.parametrize(("said", "number"), cases())
def test_a_number_is_read_as_it_is_spelled(said: str, number: str) -> None:
    assert Number(Decimal).parse(said) == Decimal(number)


@pytest.mark.parametrize("said", refused())
def test_a_number_that_is_not_wholly_understood_is_asked_again(said: str) -> None:
    with pytest.raises(OutputError):
        Number().parse(said)
