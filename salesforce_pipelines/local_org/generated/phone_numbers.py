"""Telephone numbers that belong to nobody, and the ways people write them.

Every number lies in a range kept out of service for fiction: 555-0100 to 555-0199 of a North
American area code, and the numbers for drama and media use of Ofcom (United Kingdom), ARCEP
(France), the Bundesnetzagentur (Germany) and ACMA (Australia). A large run needs more North
American numbers than that and takes other lines of the 555 exchange; where the other ranges run
out, people are left without a number, so no number is given twice.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple


class PhoneNumber(NamedTuple):
    """A number in parts: `local` is grouped by spaces, `trunk` comes first inside the country."""

    country_code: str
    trunk: str
    area: str
    local: str


class _Plan(NamedTuple):
    country_code: str
    trunk: str
    areas: tuple[tuple[str, str], ...]
    """(area code, first digits of the local number)"""
    lines: Callable[[], tuple[str, ...]]
    """Last digits of the local number."""


@cache
def _exchange_555() -> tuple[str, ...]:
    fiction = [f"{line:04d}" for line in range(100, 200)]
    directory_assistance = 1212
    overflow = [f"{line:04d}" for line in range(200, 10_000) if line != directory_assistance]
    return tuple(fiction + overflow)


@cache
def _three_digits() -> tuple[str, ...]:
    return tuple(f"{line:03d}" for line in range(1000))


@cache
def _four_digits() -> tuple[str, ...]:
    return tuple(f"{line:04d}" for line in range(10_000))


@cache
def _two_pairs() -> tuple[str, ...]:
    return tuple(f"{line // 100:02d} {line % 100:02d}" for line in range(10_000))


_US_AREAS = """
201 202 203 205 206 207 208 209 210 212 213 214 215 216 217 218 219 220 223 224 225 228
229 231 234 239 240 248 251 252 253 254 256 260 262 267 269 270 272 276 279 281 283 301
302 303 304 305 307 308 309 310 312 313 314 315 316 317 318 319 320 321 323 325 326 330
331 332 334 336 337 339 341 346 347 351 352 360 361 364 380 385 386 401 402 404 405 406
407 408 409 410 412 413 414 415 417 419 423 424 425 430 432 434 435 440 442 443 445 458
463 464 469 470 475 478 479 480 484 501 502 503 504 505 507 508 509 510 512 513 515 516
517 518 520 530 531 534 539 540 541 551 557 559 561 562 563 564 567 570 571 572 573 574
575 580 585 586 601 602 603 605 606 607 608 609 610 612 614 615 616 617 618 619 620 623
626 628 629 630 631 636 640 641 646 650 651 657 660 661 662 667 669 678 681 682 689 701
702 703 704 706 707 708 712 713 714 715 716 717 718 719 720 724 725 726 727 731 732 734
737 740 743 747 754 757 760 762 763 765 769 770 772 773 774 775 779 781 785 786 801 802
803 804 805 806 808 810 812 813 814 815 816 817 818 828 830 831 832 843 845 847 848 850
856 857 858 859 860 862 863 864 865 870 872 878 901 903 904 906 907 908 909 910 912 913
914 915 916 917 918 919 920 925 928 929 930 931 934 936 937 938 940 941 947 949 951 952
954 956 959 970 971 972 973 978 979 980 984 985 986 989
"""
_CANADIAN_AREAS = """
204 226 236 250 289 306 343 365 403 416 418 431 437 438 450 506 514 519 579 581 587 604 613 639 647
705 709 778 780 807 819 867 873 902 905
"""


def _north_american(areas: str) -> _Plan:
    prefixes = tuple((area, "555 ") for area in areas.split())
    return _Plan("1", "", prefixes, _exchange_555)


_PLANS = {
    "US": _north_american(_US_AREAS),
    "CA": _north_american(_CANADIAN_AREAS),
    "GB": _Plan(
        "44",
        "0",
        (
            ("20", "7946 0"),
            ("113", "496 0"),
            ("114", "496 0"),
            ("116", "496 0"),
            ("117", "496 0"),
            ("118", "496 0"),
            ("121", "496 0"),
            ("131", "496 0"),
            ("141", "496 0"),
            ("151", "496 0"),
            ("161", "496 0"),
            ("191", "498 0"),
            ("28", "9649 6"),
            ("29", "2018 0"),
        ),
        _three_digits,
    ),
    "FR": _Plan(
        "33",
        "0",
        (("1", "99 00 "), ("2", "61 91 "), ("3", "53 01 "), ("4", "65 71 "), ("5", "36 49 ")),
        _two_pairs,
    ),
    "DE": _Plan(
        "49",
        "0",
        (("30", "23125 "), ("69", "90009 "), ("40", "66969 "), ("221", "4710 "), ("89", "99998 ")),
        _three_digits,
    ),
    "AU": _Plan(
        "61",
        "0",
        tuple((area, prefix) for prefix in ("5550 ", "7010 ") for area in ("2", "3", "7", "8")),
        _four_digits,
    ),
}


def phone_number(country: str, position: int) -> PhoneNumber | None:
    """The `position`-th (from 0) fictitious number of a country (ISO code).

    Returns None where the country has no range for fiction or it is used up.
    """
    plan = _PLANS.get(country)
    if plan is None:
        return None
    line, index = divmod(position, len(plan.areas))
    lines = plan.lines()
    if line >= len(lines):
        return None
    area, prefix = plan.areas[index]
    return PhoneNumber(plan.country_code, plan.trunk, area, prefix + lines[line])


def e164(phone: PhoneNumber) -> str:
    """`+442079460123`."""
    return f"+{phone.country_code}{phone.area}{phone.local.replace(' ', '')}"


def international(phone: PhoneNumber) -> str:
    """`+44 20 7946 0123`."""
    return f"+{phone.country_code} {phone.area} {phone.local}"


def without_area(phone: PhoneNumber) -> str:
    """`7946-0123`: what a colleague across the street would dial; it identifies nobody."""
    return phone.local.replace(" ", "-")


def _double_zero(phone: PhoneNumber) -> str:
    return f"00{phone.country_code} {phone.area} {phone.local}"


def _trunk_in_brackets(phone: PhoneNumber) -> str:
    if phone.trunk:
        return f"+{phone.country_code} ({phone.trunk}){phone.area} {phone.local}"
    return f"+{phone.country_code} ({phone.area}) {phone.local.replace(' ', '-')}"


def _hyphens(phone: PhoneNumber) -> str:
    return f"{phone.trunk}{phone.area}-{phone.local.replace(' ', '-')}"


def _international_hyphens(phone: PhoneNumber) -> str:
    return f"+{phone.country_code}-{phone.area}-{phone.local.replace(' ', '-')}"


def _area_in_brackets(phone: PhoneNumber) -> str:
    return f"({phone.trunk}{phone.area}) {phone.local.replace(' ', '-')}"


def _dots(phone: PhoneNumber) -> str:
    return f"{phone.trunk}{phone.area}.{phone.local.replace(' ', '.')}"


def _digits(phone: PhoneNumber) -> str:
    return f"{phone.trunk}{phone.area}{phone.local.replace(' ', '')}"


def _national(phone: PhoneNumber) -> str:
    return f"{phone.trunk}{phone.area} {phone.local}"


def _slash(phone: PhoneNumber) -> str:
    return f"{phone.trunk}{phone.area}/{phone.local.replace(' ', '')}"


def _extension(phone: PhoneNumber) -> str:
    return f"{_area_in_brackets(phone)} ext. {phone.local[-2:]}"


def _short_extension(phone: PhoneNumber) -> str:
    return f"{international(phone)} x{phone.local[-2:]}"


def _link(phone: PhoneNumber) -> str:
    return f"tel:{_international_hyphens(phone)}"


def _padded(phone: PhoneNumber) -> str:
    return f" {_national(phone)} "


PHONE_FORMATS: tuple[Callable[[PhoneNumber], str], ...] = (
    e164,
    international,
    _double_zero,
    _trunk_in_brackets,
    _hyphens,
    _international_hyphens,
    _area_in_brackets,
    _dots,
    _digits,
    _national,
    _slash,
    _extension,
    _short_extension,
    _link,
    _padded,
)
"""Ways to write a whole number, all recoverable by who knows the country and reads 00 as +."""

EXTENSION_FORMATS: tuple[Callable[[PhoneNumber], str], ...] = (_extension, _short_extension)
"""Ways to write a switchboard's number with an extension."""
