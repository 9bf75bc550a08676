"""The dictionary: its facts against FreeRADIUS's files, its octets against radclient, pyrad and scapy."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import sys
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyrad.packet import AuthPacket
from scapy.layers.radius import Radius

from radius.dictionary.attributes import AttributeDictionary, Hiding, attribute_dictionary
from radius.dictionary.definitions import AttributeFault, Definition, DictionaryFault
from radius.dictionary.values import HIDDEN, to_text
from radius.packet.codec import Packet, attribute, parse
from radius.packet.shared_secret import SharedSecret

BOOK = attribute_dictionary()
FREERADIUS = Path("/usr/share/freeradius")
HIDING = Hiding(SharedSecret(b"xyzzy5461"), bytes(range(16)))
ALL = [definition for name in BOOK.names if (definition := BOOK.find(name)) is not None]
PLAIN = [one for one in ALL if one.kind not in ("tlv", "vsa", "extended", "long-extended", "evs", "abinary")]


def text_of(definition: Definition) -> st.SearchStrategy[str]:
    """A value of the attribute's type, in the form in which decoding shows it."""
    octets = {"byte": 1, "short": 2, "integer": 3 if definition.tagged else 4, "integer64": 8}
    if definition.kind in octets:
        numbers = st.integers(0, (1 << 8 * octets[definition.kind]) - 1)
        words = definition.words or {}
        text = numbers.map(lambda number: words.get(number, str(number)))
        if words:
            text |= st.sampled_from(sorted(words.values()))
        text = text.map(lambda word: words.get((definition.numbers or {}).get(word.lower(), -1), word))
    else:
        size = definition.size
        raw = st.binary(min_size=1 if size is None else size, max_size=60 if size is None else size)
        printable = st.text(
            st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=40
        )
        text = {
            "string": printable.filter(lambda one: not one.startswith("0x")),
            "octets": raw.map(lambda one: "0x" + one.hex()),
            "signed": st.integers(-(1 << 31), (1 << 31) - 1).map(str),
            "ipaddr": st.ip_addresses(v=4).map(str),
            "ipv6addr": st.ip_addresses(v=6).map(str),
            "ipv4prefix": st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, 32)).map(
                lambda one: str(IPv4Network(one, strict=False))
            ),
            "ipv6prefix": st.tuples(st.integers(0, (1 << 128) - 1), st.integers(0, 128)).map(
                lambda one: str(IPv6Network(one, strict=False))
            ),
            "ifid": st.lists(st.integers(0, 0xFFFF), min_size=4, max_size=4).map(
                lambda one: ":".join(f"{group:x}" for group in one)
            ),
            "ether": st.binary(min_size=6, max_size=6).map(lambda one: one.hex(":")),
            "date": st.datetimes().filter(lambda at: 1970 <= at.year < 2106).map(
                lambda at: at.replace(microsecond=0).isoformat() + "Z"
            ),
        }[definition.kind]  # fmt: skip
    return st.lists(text, min_size=1, max_size=3).map(",".join) if definition.array else text


@st.composite
def named(draw: st.DrawFn) -> tuple[Definition, int | None, str]:
    definition = draw(st.sampled_from(PLAIN))
    tag = draw(st.none() | st.integers(1, 31)) if definition.tagged else None
    return definition, tag, draw(text_of(definition))


@given(named())
@settings(max_examples=600)
def test_what_is_encoded_decodes_to_the_same_name_tag_and_text(
    case: tuple[Definition, int | None, str],
) -> None:
    definition, tag, text = case
    if definition.encryption == 3:
        with pytest.raises(AttributeFault, match="is not sent"):
            BOOK.encode(definition.name, text, tag, hiding=HIDING)
        return
    (found,) = BOOK.decode(BOOK.encode(definition.name, text, tag, hiding=HIDING))
    assert (found.name, found.tag) == (definition.name, tag)
    if definition.path == (79,) and not definition.vendor:
        assert "octets" in found.text
    elif definition.encryption:
        assert found.text == HIDDEN
        assert shown(definition, found.octets) == text
    else:
        assert found.text == (HIDDEN if definition.secret else text)


def shown(definition: Definition, hidden: bytes) -> str:
    """Unhidden by the formulas of RFC 2865 section 5.2 and RFC 2868 section 3.5, written again."""
    salt, body = (hidden[:2], hidden[2:]) if definition.encryption == 2 else (b"", hidden)
    previous, clear = HIDING.authenticator + salt, b""
    for at in range(0, len(body), 16):
        pad = hashlib.md5(b"xyzzy5461" + previous).digest()
        previous = body[at : at + 16]
        clear += bytes(a ^ b for a, b in zip(previous, pad, strict=True))
    clear = clear[1 : 1 + clear[0]] if salt else clear
    plain = Definition(
        definition.name, definition.vendor, definition.path, definition.kind, words=definition.words
    )
    if definition.encryption == 1:
        clear = clear.rstrip(b"\0") if definition.size is None else clear[: definition.size]
    return to_text(plain, clear)


@given(named())
@settings(max_examples=300)
def test_pyrad_encodes_to_the_same_octets(case: tuple[Definition, int | None, str]) -> None:
    definition, _tag, text = case
    theirs = BOOK.pyrad.attributes.get(definition.name)
    if (
        theirs is None
        or definition.encryption
        or definition.tagged
        or text.startswith("0x")
        or definition.joined
    ):
        return
    if definition.kind == "date":
        return  # pyrad takes a number
    number = (definition.numbers or {}).get(text.lower())
    packet = AuthPacket(dict=BOOK.pyrad, secret=b"x")
    packet.AddAttribute(definition.name, text if number is None else theirs.values.GetBackward(number.to_bytes(
        {"byte": 1, "short": 2, "integer64": 8}.get(definition.kind, 4), "big")))  # fmt: skip
    assert packet._PktEncodeAttributes() == BOOK.encode(definition.name, text)


@given(st.lists(named(), max_size=12))
@settings(max_examples=100)
def test_scapy_and_our_codec_see_the_same_attributes(cases: list[tuple[Definition, int | None, str]]) -> None:
    body = b"".join(
        BOOK.encode(one.name, text, tag, hiding=HIDING) for one, tag, text in cases if one.encryption != 3
        and one.path[:1] != (80,)
    )  # fmt: skip
    datagram = bytes((1, 7)) + (20 + len(body)).to_bytes(2, "big") + bytes(16) + body
    packet = parse(datagram)
    theirs = Radius(datagram)
    assert b"".join(bytes(one) for one in theirs.attributes) == body
    assert [int(one.type) for one in theirs.attributes] == [kind for kind, _ in packet.attributes]
    assert [str(one) for one in BOOK.decode(packet)] == [str(one) for one in BOOK.decode(body)]


KNOWN_KINDS = [1, 2, 3, 26, 60, 64, 69, 79, 80, 97, 123, 155, 173, 241, 245, 246]


@given(
    st.lists(
        st.tuples(st.sampled_from(KNOWN_KINDS) | st.integers(0, 255), st.binary(max_size=253)), max_size=8
    ),
    st.binary(max_size=40),
)
@settings(max_examples=500)
def test_no_octets_are_an_error(attributes: list[tuple[int, bytes]], tail: bytes) -> None:
    octets = b"".join(attribute(kind, value) for kind, value in attributes) + tail
    for one in BOOK.decode(octets):
        assert one.name
        assert "\n" not in str(one)
    assert BOOK.decode(Packet(1, 2, bytes(16), tuple(attributes))) is not None


@given(st.sampled_from([161, 311, 14988, 17713, 41112, 54, 3561, 99999]), st.binary(max_size=60))
def test_no_vendor_octets_are_an_error(vendor: int, octets: bytes) -> None:
    value = vendor.to_bytes(4, "big") + octets
    found = BOOK.decode(attribute(26, value))
    if [one.name for one in found] != ["Vendor-Specific"]:
        read = sum(len(one.octets) + 2 for one in found if len(one.path) == 1)
        assert read <= len(octets), "no octet is read twice"
    else:
        assert found[0].octets == value, "what has no sound shape is shown whole"


@given(
    st.sampled_from(BOOK.names) | st.text(max_size=20),
    st.text(max_size=30) | st.from_regex(r"[0-9a-fx:./,-]{0,40}", fullmatch=True),
    st.sampled_from(["", ":1", ":0", ":99", ":x", ":"]),
)
@settings(max_examples=500)
def test_any_text_is_encoded_or_refused_in_words(name: str, text: str, tag: str) -> None:
    try:
        octets = BOOK.encode(name + tag, text, hiding=HIDING)
    except AttributeFault as fault:
        assert str(fault).startswith((name, name + tag))
    else:
        assert BOOK.decode(octets)


def test_radclient_and_we_write_the_same(tmp_path: Path) -> None:
    """FreeRADIUS's own encoder, on the wire, against ours: each shape once."""
    radclient = shutil.which("radclient")
    if radclient is None:
        pytest.skip("radclient is not installed")
    values = [
        ("Service-Type", "Framed-User"), ("NAS-Port-Type", "Wireless-802.11"), ("Framed-IP-Address", "192.0.2.7"),
        ("Framed-IPv6-Prefix", "2001:db8:1:2::/64"), ("Delegated-IPv6-Prefix", "2001:db8:7::/48"),
        ("Framed-Interface-Id", "0:0:0:1"), ("Tunnel-Type:1", "VLAN"), ("Tunnel-Medium-Type:1", "IEEE-802"),
        ("Tunnel-Private-Group-Id:1", "100"), ("Mikrotik-Rate-Limit", "5M/25M"), ("Cambium-ePMP-UserLevel", "Admin"),
        ("MIP6-Feature-Vector", "18446744073709551615"), ("PMIP6-Home-IPv4-HoA", "198.51.100.0/24"),
        ("Response-Length", "4096"), ("IP-Port-Limit", "7"), ("WISPr-Bandwidth-Max-Down", "25000000"),
        ("Cambium-Authorize-Class-Name", "gold"), ("Cambium-Authorize-Bytes-Left", "9000000000"),
        ("Motorola-Canopy-HPENABLE", "Enable"), ("ADSL-Agent-Circuit-Id", "0x6574682030"),
        ("ERX-Service-Activate:2", "video"), ("Chargeable-User-Identity", "0x00"), ("Class", "0x686921"),
        ("Route-IPv6-Information", "2001:db8:9::/56"), ("Cisco-AVPair", "ip:qos-policy-out=add-class"),
    ]  # fmt: skip
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        lines = ", ".join(
            f"{name} = {value if value.startswith('0x') else chr(34) + value + chr(34)}"
            for name, value in values
        )
        (tmp_path / "dictionary").write_text(f"$INCLUDE {FREERADIUS}/dictionary\n")
        with subprocess.Popen(
            [radclient, "-r", "1", "-t", "1", f"127.0.0.1:{server.getsockname()[1]}", "acct", "xyzzy5461"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            process.stdin.write(lines.encode() + b"\n")
            process.stdin.close()
            datagram = server.recv(4096)
            process.kill()
    found = [
        one
        for one in BOOK.decode(parse(datagram))
        if one.name not in ("Message-Authenticator", "Acct-Delay-Time")
    ]
    assert [(one.label, one.text) for one in found] == values
    sent = b"".join(
        attribute(kind, value) for kind, value in parse(datagram).attributes if kind not in (80, 41)
    )
    assert BOOK.encode_all(values) == sent


def _freeradius_facts() -> dict[tuple[int, str], set[tuple[str, str]]]:
    """(vendor, code) → names and types, by every file that comes with FreeRADIUS, read without pyrad."""
    facts: dict[tuple[int, str], set[tuple[str, str]]] = {}
    for file in FREERADIUS.glob("dictionary*"):
        vendors: dict[str, int] = {}
        vendor = 0
        for line in file.read_text(errors="replace").splitlines():
            match line.split("#")[0].split():
                case ["VENDOR", name, number, *_]:
                    vendors[name] = int(number, 0)
                case ["BEGIN-VENDOR", name, *_]:
                    vendor = vendors.get(name, -1)
                case ["END-VENDOR", *_]:
                    vendor = 0
                case ["ATTRIBUTE", name, code, kind, *_] if vendor or ".rfc" in file.name:
                    plain = ".".join(str(int(step, 0)) for step in code.split("."))
                    facts.setdefault((vendor, plain), set()).add((name, kind.split("[")[0].lower()))
    return facts


def test_names_numbers_and_types_are_those_freeradius_knows() -> None:
    if not FREERADIUS.is_dir():
        pytest.skip("FreeRADIUS's dictionaries are not installed")
    facts = _freeradius_facts()
    compared = 0
    for one in ALL:
        code = ".".join(map(str, one.path))
        theirs = facts.get((one.vendor, code))
        if theirs is None or one.vendor == 54:
            continue
        name = one.name.replace("Membership-Set", "Membersip-Set")
        assert (name, one.kind) in theirs, (one, theirs)
        compared += 1
    assert compared > 1_000


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("Service-Type", "Framd-User", r"Service-Type: 'Framd-User' cannot be sent.*Login-User.*is Framed-User meant"),
        ("Session-Timeout", "soon", "Session-Timeout: 'soon' cannot be sent; it has to be a number$"),
        ("Session-Timeout", "4294967296", "from 0 to 4294967295"),
        ("Session-Timeout", "9" * 5000, "it has to be a number"),
        ("Tunnel-Preference", "16777216", "from 0 to 16777215"),
        ("Framed-IP-Address", "2001:db8::1", "an IPv4 address like 192.0.2.1"),
        ("Delegated-IPv6-Prefix", "192.0.2.0/24", "an IPv6 prefix like"),
        ("Delegated-IPv6-Prefix", "2001:db8::/129", "an IPv6 prefix like"),
        ("PMIP6-Home-IPv4-HoA", "192.0.2.1/24", "an IPv4 prefix like"),
        ("Framed-Interface-Id", "1:2", "an interface identifier like"),
        ("Event-Timestamp", "yesterday", "a time like 2026"),
        ("Filter-Id", "x" * 254, "Filter-Id: at most 253 octets fit, not 254"),
        ("Mikrotik-Group", "x" * 248, "Mikrotik-Group: at most 247 octets fit, not 248"),
        ("Cambium-Authorize-Class-Name", "x" * 250, "Cambium-Authorize-Class-Name: at most"),
        ("ARAP-Password", "0x00", "it has 16 octets, not 1"),
        ("NAS-Port:3", "1", "this attribute has no tag; write it without :3"),
        ("Tunnel-Type:32", "VLAN", "a tag is a number from 1 to 31"),
        ("Tunnel-Type:x", "VLAN", "behind the colon belongs a tag"),
        ("Servce-Type", "1", "Servce-Type: no attribute has this name; is Service-Type"),
        ("Attr-256", "0x00", "no attribute has this name"),
        ("Vendor-99999-Attr-256", "0x00", "no attribute has this name"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_by_name_value_and_what_is_allowed(name: str, text: str, says: str) -> None:
    with pytest.raises(AttributeFault, match=says):
        BOOK.encode(name, text)


def test_a_secret_is_in_no_error_and_in_no_text() -> None:
    with pytest.raises(AttributeFault, match="hidden under the shared secret") as trouble:
        BOOK.encode("Tunnel-Password:1", "hush")
    with pytest.raises(AttributeFault, match="at most 128") as long:
        BOOK.encode("User-Password", "hush" * 40, hiding=HIDING)
    assert "hush" not in str(trouble.value) + str(long.value)
    for name in ("Mikrotik-Wireless-PSK", "Mimosa-ManagementPassword-Parameter", "CHAP-Password"):
        (found,) = BOOK.decode(BOOK.encode(name, "hush-hush-hush"))
        assert found.text == HIDDEN
        assert "hush" not in repr(found)
    (pair,) = BOOK.decode(BOOK.encode("Cisco-AVPair", "psk=hush"))
    assert pair.text == "psk=(hidden)"
    eap = bytes((2, 9, 0, 9, 26)) + b"hush"
    (message,) = BOOK.decode(attribute(79, eap))
    assert message.text == "Response 9 MSCHAPv2, 9 octets"


def test_an_ms_chap_error_is_read_by_people() -> None:
    (error,) = BOOK.decode(BOOK.encode("MS-CHAP-Error", "0x07" + b"E=691 R=0".hex()))
    assert (error.text, error.octets) == ("E=691 R=0", b"\x07E=691 R=0")


def test_unknown_attributes_have_a_name_and_go_both_ways() -> None:
    for name in ("Attr-250", "Vendor-99999-Attr-3", "Attr-241.77", "Attr-241.26.9.1", "Attr-245.26.99999.3",
                 "Vendor-17713-Attr-158.9"):  # fmt: skip
        octets = BOOK.encode(name, "0x0102ff")
        assert [str(one) for one in BOOK.decode(octets)] == [f"{name} = 0x0102ff"]
    assert [one.name for one in BOOK.decode(BOOK.encode("Attr-6", "0x00000002"))] == ["Service-Type"]


def test_a_long_extended_value_goes_in_fragments_and_is_joined_again() -> None:
    value = "0x" + bytes(index % 251 for index in range(900)).hex()
    octets = BOOK.encode("Attr-245.9", value)
    assert [octets[at] for at in (0, 255, 510)] == [245] * 3
    (found,) = BOOK.decode(octets)
    assert (found.name, found.text) == ("Attr-245.9", value)
    (cut,) = BOOK.decode(octets[:255])
    assert cut.octets == found.octets[:251], "a last fragment that is missing is no error"
    one, _, rest = BOOK.decode(octets[:255] + attribute(1, b"fir") + octets[255:])
    assert one.octets + rest.octets == found.octets, "fragments are joined only when nothing is between them"


def test_members_of_a_tlv_share_it_until_one_comes_again() -> None:
    gold = [("Cambium-Authorize-Class-Name", "gold"), ("Cambium-Authorize-Bytes-Left", "5")]
    iron = [("Cambium-Authorize-Class-Name", "iron"), ("Cambium-Authorize-Bytes-Left", "7")]
    octets = BOOK.encode_all([*gold, *iron, ("Filter-Id", "x")])
    assert octets.count((17713).to_bytes(4, "big")) == 2
    assert [(one.name, one.text) for one in BOOK.decode(octets)] == [*gold, *iron, ("Filter-Id", "x")]


OWN = """
VENDOR Fictional 32473
VENDOR Wide 32474 format=2,2
VENDOR Bare 32475 format=4,0
VALUE Fictional-Mode eco 2
BEGIN-VENDOR Fictional
ATTRIBUTE Fictional-Mode 1 byte
ATTRIBUTE Fictional-Radio 2 tlv
ATTRIBUTE Fictional-Radio-Band 2.1 tlv
ATTRIBUTE Fictional-Radio-Channel 2.1.1 short
ATTRIBUTE Fictional-Radio-Dfs 2.1.2 bool
ATTRIBUTE Fictional-Radio-Peer 2.2 combo-ip
END-VENDOR Fictional
BEGIN-VENDOR Wide
ATTRIBUTE Wide-Name 300 string
END-VENDOR Wide
BEGIN-VENDOR Bare
ATTRIBUTE Bare-Octets 70000 octets
END-VENDOR Bare
BEGIN-VENDOR Fictional format=Extended-Vendor-Specific-5
ATTRIBUTE Fictional-Long 7 string
END-VENDOR Fictional
"""


def own(folder: Path, text: str) -> AttributeDictionary:
    file = folder / "dictionary.own"
    file.write_text(text)
    return attribute_dictionary([file])


def test_an_operators_own_file(tmp_path: Path) -> None:
    book = own(tmp_path, OWN)
    values = [
        ("Fictional-Mode", "eco"), ("Fictional-Radio-Channel", "5180"), ("Fictional-Radio-Dfs", "yes"),
        ("Fictional-Radio-Peer", "2001:db8::7"), ("Wide-Name", "fir"), ("Bare-Octets", "0x0102"),
        ("Fictional-Long", "x" * 600), ("Service-Type", "Framed-User"),
    ]  # fmt: skip
    octets = book.encode_all(values)
    assert [(one.name, one.text) for one in book.decode(octets)] == values
    assert bytes.fromhex("00007eda012c000766" + b"ir".hex()) in octets
    assert bytes.fromhex("00007edb000111700102") in octets
    assert bytes.fromhex("f5ff1a80" + "00007ed907") in octets, "extended type, More, vendor, vendor's type"
    assert BOOK.find("Fictional-Mode") is None, "the product's own stays as it is"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ATTRIBUTE Own-One 7 nonsense", r"dictionary.own line 1: Illegal type"),
        ("\nATTRIBUTE Own-One x integer", r"dictionary.own line 2: Illegal attribute code"),
        ("ATTRIBUTE Own-One", "Incorrect number of tokens"),
        ("ATTRIBUTE Own-One 300 integer", "has to be 0 to 255, not 300"),
        ("BEGIN-VENDOR Nobody", "dictionary.own line 1"),
        ("VENDOR Some x", "dictionary.own line 1"),
        ("$INCLUDE dictionary.own", "Recursive include"),
        ("$INCLUDE nowhere", "nowhere: No such file"),
        (
            "VENDOR Some 32473\nBEGIN-VENDOR Some format=User-Name\nATTRIBUTE A 1 integer",
            "no such evs attribute",
        ),
        ("\0\1\2 \udcff", "dictionary.own"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "dictionary.own").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DictionaryFault, match=says):
        attribute_dictionary([tmp_path / "dictionary.own"])


def test_the_wheel_holds_the_files() -> None:
    from hatchling.builders.wheel import WheelBuilder

    root = Path(__file__).parents[2]
    held = {one.distribution_path for one in WheelBuilder(str(root)).recurse_included_files()}
    files = {f"radius/dictionary/data/{one.name}" for one in (root / "radius/dictionary/data").iterdir()}
    assert len(files) > 40
    assert files <= held


def test_the_path_of_a_request_loads_none_of_it() -> None:
    program = "import radius.serving.role; from radius.dictionary import attributes; print(attributes._loaded.cache_info())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert "currsize=0" in done.stdout


def test_ipv6_addresses_of_other_lengths_are_shown_raw() -> None:
    assert [one.text for one in BOOK.decode(attribute(168, b"\x20\x01"))] == ["0x2001"]
    assert [one.text for one in BOOK.decode(attribute(168, IPv6Address("2001:db8::1").packed))] == [
        "2001:db8::1"
    ]
    assert [one.text for one in BOOK.decode(attribute(97, b"\0\x40\x20\x01\x0d\xb8"))] == ["2001:db8::/64"]
    assert [one.text for one in BOOK.decode(attribute(97, b"\0\x20\x20\x01\x0d\xb8\xff"))] == [
        "0x002020010db8ff"
    ]
