"""The mark on every edited picture: an XMP packet that says what made it.

JPEG, PNG, WebP and TIFF carry XMP; BMP has no place for it and stays unmarked. The mark is a label for honest hands,
not a lock: any program that drops metadata removes it. It holds no time, so that equal edits give equal files.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from mien.errors import MienError

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_OURS = ((_EXT, "DigitalSourceType"), (_XMP, "CreatorTool"))
_LARGEST = 2_000_000  # bytes; as a tree of elements they take a hundred times as much memory
_EMPTY = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}"></rdf:RDF></x:xmpmeta>'


def mark(xmp: bytes | None, tool: str) -> bytes:
    """An XMP packet with the source type of an edited picture and `tool` as its CreatorTool.

    Other properties of the packet `xmp` stay. A packet that is not well-formed, that has more than 2 MB, or that has a
    DOCTYPE (whose entities could unfold without end), is replaced by a fresh one.
    """
    document = (_parse(xmp) if xmp else None) or minidom.parseString(_EMPTY)
    rdf = document.getElementsByTagNameNS(_RDF, "RDF")[0]
    about = ""
    for description in _descriptions(rdf):
        about = about or description.getAttributeNS(_RDF, "about")
        _remove_ours(description)
    ours = document.createElementNS(_RDF, "rdf:Description")
    ours.setAttribute("xmlns:rdf", _RDF)
    ours.setAttribute("xmlns:Iptc4xmpExt", _EXT)
    ours.setAttribute("xmlns:xmp", _XMP)
    ours.setAttribute("rdf:about", about)
    ours.setAttribute("Iptc4xmpExt:DigitalSourceType", SOURCE_TYPE)
    ours.setAttribute("xmp:CreatorTool", re.sub(r"[^\x20-\ud7ff\ue000-\ufffd]", " ", tool))
    rdf.appendChild(ours)
    body = document.documentElement.toxml() if document.documentElement else ""
    packet = f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{body}\n<?xpacket end="w"?>'
    return packet.encode()


def read_mark(path: str | Path) -> dict[str, str]:
    """{"source_type": ..., "tool": ...} of a JPEG, PNG, WebP or TIFF file, as far as it has them; {} for none.

    Looks for an uncompressed packet anywhere in the file, which is how mien and most tools store it.
    Raises MienError where the file cannot be read.
    """
    try:
        contents = Path(path).read_bytes()
    except OSError as error:
        raise MienError(f"{path} cannot be read ({error.strerror}); check the name and its permissions") from error
    for opening, closing in ((b"<x:xmpmeta", b"</x:xmpmeta>"), (b"<rdf:RDF", b"</rdf:RDF>")):
        start = contents.find(opening)
        while start >= 0 and (end := contents.find(closing, start)) >= 0:
            if found := marked(contents[start : end + len(closing)]):
                return found
            start = contents.find(opening, end)
    return {}


def marked(xmp: bytes) -> dict[str, str]:
    """As `read_mark`, of a packet."""
    document = _parse(xmp)
    found = {}
    for description in _descriptions(document.getElementsByTagNameNS(_RDF, "RDF")[0]) if document else ():
        for key, (space, name) in zip(("source_type", "tool"), _OURS, strict=True):
            elements = [node for node in _children(description) if (node.namespaceURI, node.localName) == (space, name)]
            text = "".join(getattr(part, "data", "") for node in elements for part in node.childNodes)
            value = description.getAttributeNS(space, name) or text
            if value:
                found[key] = value
    return found


def _parse(xmp: bytes) -> minidom.Document | None:
    """The packet's document, or None where it is unusable."""
    if len(xmp) > _LARGEST:
        return None
    try:
        text = xmp.decode("utf-8-sig").strip(" \t\r\n\0")
        # As text, so that the encoding it declares cannot hide a DOCTYPE from the next line.
        if "<!DOCTYPE" in text or "\0" in text:
            return None
        document = minidom.parseString(re.sub(r"^<\?xml[\s][^>]*\?>", "", text).encode())
        document.toxml()  # nesting too deep to write shows here
        return document if document.getElementsByTagNameNS(_RDF, "RDF") else None
    except (UnicodeError, ExpatError, ValueError, RecursionError):
        return None


def _children(node: minidom.Element) -> list[minidom.Element]:
    return [child for child in node.childNodes if child.nodeType == child.ELEMENT_NODE]


def _descriptions(rdf: minidom.Element) -> list[minidom.Element]:
    return [node for node in _children(rdf) if (node.namespaceURI, node.localName) == (_RDF, "Description")]


def _remove_ours(description: minidom.Element) -> None:
    for space, name in _OURS:
        if description.hasAttributeNS(space, name):
            description.removeAttributeNS(space, name)
        for child in _children(description):
            if (child.namespaceURI, child.localName) == (space, name):
                description.removeChild(child)
