"""The mark says what made the picture, and leaves what others said alone."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from mien.errors import MienError
from mien.photo.provenance import SOURCE_TYPE, mark, marked, read_mark
from mien.photo.read import Photo, read
from mien.photo.write import write

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
XMP = "{http://ns.adobe.com/xap/1.0/}"
DC = "{http://purl.org/dc/elements/1.1/}"
OTHERS = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Camera"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="uuid:1" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:own="urn:own" xmp:CreatorTool="Camera 1.0" xmp:Rating="5" own:Secret="x"><dc:creator><rdf:Seq><rdf:li>J\xc3\xb6rg
</rdf:li></rdf:Seq></dc:creator></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def _rdf(packet: bytes) -> ElementTree.Element:
    found = ElementTree.fromstring(packet.decode()).find(f"{RDF}RDF")
    assert found is not None
    return found


def test_a_fresh_mark() -> None:
    packet = mark(None, "mien 1.2")
    assert marked(packet) == {"source_type": SOURCE_TYPE, "tool": "mien 1.2"}
    assert packet == mark(None, "mien 1.2")  # equal edits make equal files
    assert packet.startswith(b"<?xpacket begin=")
    assert packet.endswith(b'<?xpacket end="w"?>')


def test_other_properties_stay_and_the_tool_is_replaced() -> None:
    packet = mark(OTHERS, "mien 1.2")
    descriptions = _rdf(packet).findall(f"{RDF}Description")
    assert {d.get(f"{RDF}about") for d in descriptions} == {"uuid:1"}
    assert [d.get(f"{XMP}CreatorTool") for d in descriptions if d.get(f"{XMP}CreatorTool")] == ["mien 1.2"]
    assert descriptions[0].get(f"{XMP}Rating") == "5"
    assert descriptions[0].findtext(f"{DC}creator/{RDF}Seq/{RDF}li") == "Jörg\n"
    assert b'own:Secret="x"' in packet  # with the prefix its owner looks for
    assert b'x:xmptk="Camera"' in packet


def test_marking_twice_leaves_one_mark() -> None:
    twice = mark(mark(OTHERS, "mien 1"), "mien 2")
    assert twice.count(b"DigitalSourceType") == 1
    assert marked(twice)["tool"] == "mien 2"


def test_properties_written_as_elements_are_replaced_too() -> None:
    elements = OTHERS.replace(b"<dc:creator>", b"<xmp:CreatorTool>Editor</xmp:CreatorTool><dc:creator>")
    elements = elements.replace(b'xmp:CreatorTool="Camera 1.0"', b"")
    assert marked(elements) == {"tool": "Editor"}
    assert marked(mark(elements, "mien")) == {"source_type": SOURCE_TYPE, "tool": "mien"}
    assert b"Editor" not in mark(elements, "mien")


LAUGHS = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>' + OTHERS


@pytest.mark.parametrize(
    "packet",
    [
        b"not xml",
        b"<a>",
        b"<a/>",
        LAUGHS,
        LAUGHS.decode().encode("utf-16"),
        b'<?xml version="1.0" encoding="utf-7"?>+ADw-x',
        b"\xff\xfe\xff",
        b"<a>" * 20_000 + OTHERS[57:-19] + b"</a>" * 20_000,
    ],
    ids=["text", "open", "no rdf", "doctype", "doctype in utf-16", "utf-7", "bytes", "deep"],
)
def test_an_unusable_packet_is_replaced(packet: bytes) -> None:
    assert mark(packet, "mien") == mark(None, "mien")


def test_a_tools_name_cannot_break_the_packet() -> None:
    name = 'a "b" <c> & \x00 d'
    assert marked(mark(None, name))["tool"] == name.replace("\x00", " ")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_the_mark_is_in_every_format_that_can_hold_it(tmp_path: Path, suffix: str) -> None:
    photo = Photo.from_array(np.full((16, 16, 3), 90, np.uint8))
    path = write(photo, photo.rgb + 9, tmp_path / f"a{suffix}", tool="mien 1.2")
    assert read_mark(path) == {"source_type": SOURCE_TYPE, "tool": "mien 1.2"}
    assert marked(read(path).xmp or b"") == read_mark(path)  # where Pillow and others look for it


def test_reading_no_mark(tmp_path: Path) -> None:
    photo = Photo.from_array(np.full((16, 16, 3), 90, np.uint8))
    assert read_mark(write(photo, photo.rgb + 9, tmp_path / "a.jpg", mark=False)) == {}
    assert read_mark(write(photo, photo.rgb + 9, tmp_path / "a.bmp")) == {}
    (tmp_path / "b").write_bytes(b"<rdf:RDF " * 1000 + b"<x:xmpmeta>" + b"</x:xmpmeta>")
    assert read_mark(tmp_path / "b") == {}
    with pytest.raises(MienError, match="cannot be read"):
        read_mark(tmp_path / "none")
