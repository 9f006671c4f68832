"""XMP packets: the alt text and the description of a photo, and whether seesay wrote them.

The properties are `Iptc4xmpCore:AltTextAccessibility` (IPTC Photo Metadata 2021.1, what screen readers are to say) and
`dc:description` (what photo managers show as the caption). A third, of seesay's own, keeps the sentence that it
wrote: as long as the alt text is still that sentence, nobody has edited it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal
from xml.dom.minidom import Attr, Document, Element, parseString
from xml.parsers.expat import ExpatError, ParserCreate
from xml.sax.saxutils import escape, quoteattr

from seesay.errors import SeesayError

Node = Any  # what the type stubs of minidom allow below and above each kind of node is too narrow
Overwrite = Literal["nothing", "ours", "all"]

X = "adobe:ns:meta/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XML = "http://www.w3.org/XML/1998/namespace"
XMLNS = "http://www.w3.org/2000/xmlns/"
SEESAY = "urn:seesay:xmp/1.0/"

Name = tuple[str, str, str]  # namespace, usual prefix, local name
ALT_TEXT: Name = ("http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/", "Iptc4xmpCore", "AltTextAccessibility")
DESCRIPTION: Name = ("http://purl.org/dc/elements/1.1/", "dc", "description")
WRITTEN: Name = (SEESAY, "seesay", "Caption")
MODEL: Name = (SEESAY, "seesay", "Model")
CONFIDENCE: Name = (SEESAY, "seesay", "Confidence")

EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'  # as the standard wants it
    f'<x:xmpmeta xmlns:x="{X}"><rdf:RDF xmlns:rdf="{RDF}"/></x:xmpmeta>'
    '<?xpacket end="w"?>'
)
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
MOST_PARTS = 100_000  # segments or chunks of a photo file; libpng writes large PNGs in chunks of 8 KiB
DEEPEST = 100  # elements in each other; XMP has about seven
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
NO_CONTENT = {(XML, "lang"), (RDF, "parseType")}  # attributes that say how to read a value


class MetadataError(SeesayError):
    """The metadata of a photo cannot be read, or nothing can be added to them."""


def refuse_many(parts: int) -> None:
    """Raise MetadataError for a file in more parts than photos have."""
    if parts > MOST_PARTS:
        raise MetadataError(f"it has more than {MOST_PARTS:,} parts")


class Packet:
    """An XMP packet; everything in it that is not written anew stays as it is.

    Args:
        data: the packet, or None for a new one.

    Raises:
        MetadataError: it is no XMP.
    """

    def __init__(self, data: bytes | None) -> None:
        try:
            content = data.decode("utf-16") if data and data.startswith(UTF_16) else data
            content = content.strip("\0 \t\r\n") if isinstance(content, str) else (content or b"").strip(b"\0 \t\r\n")
            _check(content or EMPTY)
            self._document: Document = parseString(content or EMPTY)
        except (ExpatError, ValueError, LookupError) as error:
            raise MetadataError(f"its XMP is broken ({error})") from None
        roots = self._document.getElementsByTagNameNS(RDF, "RDF")
        if len(roots) != 1:
            raise MetadataError(f"its XMP has {len(roots)} rdf:RDF elements, expected one")
        self._root: Node = roots[0]

    def texts(self, name: Name) -> list[str]:
        """All that a property says, the default language first; empty if it says nothing."""
        return [text for found in self._found(name) for text in _texts(found)]

    def text(self, name: Name) -> str:
        """A property in its default language, or else the first one; "" if it says nothing."""
        return next(iter(self.texts(name)), "")

    def may_write(self, name: Name, overwrite: Overwrite) -> bool:
        """Whether a property says nothing or may be replaced: with "ours" if it says only what seesay wrote."""
        now = self.texts(name)
        return not now or overwrite == "all" or (overwrite == "ours" and set(now) == {self.text(WRITTEN)})

    def write(self, text: str, description: bool, model: str, confidence: float | None) -> None:
        """Write the alt text, and what it is from.

        Args:
            text: the caption.
            description: whether to write it as the description too.
            model: the name of the model that wrote it.
            confidence: 0 to 1, or None.
        """
        origin = {WRITTEN: text, MODEL: model, CONFIDENCE: "" if confidence is None else f"{confidence:.4f}"}
        self._write(text, description, origin)

    def write_own(self, text: str, description: bool) -> None:
        """Write somebody's own words as the alt text, and perhaps as the description."""
        self._write(text, description, {})

    def _write(self, text: str, description: bool, origin: dict[Name, str]) -> None:
        about = next((e.getAttributeNS(RDF, "about") for e in self._descriptions()), "")
        for name in (ALT_TEXT, WRITTEN, MODEL, CONFIDENCE, *((DESCRIPTION,) if description else ())):
            for found in list(self._found(name)):
                _remove(found)
        block = self._element(self._root, (RDF, "rdf", "Description"))
        block.setAttributeNS(RDF, "rdf:about", about)
        for namespace, prefix in ((RDF, "rdf"), *(name[:2] for name in (ALT_TEXT, DESCRIPTION, WRITTEN))):
            block.setAttributeNS(XMLNS, f"xmlns:{prefix}", namespace)  # above it a prefix may mean something else
        for name in (ALT_TEXT, *((DESCRIPTION,) if description else ())):
            several = self._element(self._element(block, name), (RDF, "rdf", "Alt"))
            item = self._element(several, (RDF, "rdf", "li"), text)
            item.setAttributeNS(XML, "xml:lang", "x-default")
        for name, value in origin.items():
            if value:
                self._element(block, name, value)

    def to_bytes(self) -> bytes:
        """The packet in UTF-8. Raises MetadataError if it could not be read again, and so must not be written."""
        data = "".join(map(_serialised, self._document.childNodes)).encode()
        Packet(data)
        return data

    def _descriptions(self) -> list[Node]:
        return [n for n in self._root.childNodes if isinstance(n, Element) and n.namespaceURI == RDF]

    def _found(self, name: Name) -> Iterator[Node]:
        namespace, _, local = name
        for description in self._descriptions():
            if attribute := description.getAttributeNodeNS(namespace, local):
                yield attribute
            for child in list(description.childNodes):
                if isinstance(child, Element) and (child.namespaceURI, child.localName) == (namespace, local):
                    yield child

    def _element(self, parent: Node, name: Name, text: str = "") -> Node:
        namespace, prefix, local = name
        element = self._document.createElementNS(namespace, f"{prefix}:{local}")
        if text:
            element.appendChild(self._document.createTextNode(NOT_XML.sub("", text)))
        parent.appendChild(element)
        return element


def _texts(found: Node) -> list[str]:
    """What a property says, in whichever of RDF's forms."""
    if isinstance(found, Attr):
        return [text] if (text := found.value.strip()) else []
    texts: list[tuple[bool, str]] = []

    def collect(node: Node, later: bool) -> None:
        own = [a.value for a in node.attributes.values() if _says(a)]
        own.append("".join(child.data for child in node.childNodes if child.nodeType in (3, 4)))  # text, CDATA
        texts.extend((later, text.strip()) for text in own if text.strip())
        for child in node.childNodes:
            if isinstance(child, Element):
                collect(child, child.getAttributeNS(XML, "lang") != "x-default")

    collect(found, True)
    return [text for _, text in sorted(texts, key=lambda item: item[0])]


def _says(attribute: Node) -> bool:
    return attribute.namespaceURI != XMLNS and (attribute.namespaceURI, attribute.localName) not in NO_CONTENT


def _remove(found: Node) -> None:
    """Remove a property, and the element that it was alone in."""
    if isinstance(found, Attr):
        owner: Node = found.ownerElement
        owner.removeAttributeNode(found)
        return
    parent: Node = found.parentNode
    parent.removeChild(found)
    rest = [node for node in parent.childNodes if node.nodeType != node.TEXT_NODE or node.data.strip()]
    attributes = [a for a in parent.attributes.values() if a.namespaceURI not in (XMLNS, RDF)]
    if not rest and not attributes:
        parent.parentNode.removeChild(parent)


def _check(content: str | bytes) -> None:
    """Refuse what would cost much to parse: entities, which a document type may define, and deep nesting."""
    depth = 0

    def refuse(*_: object) -> None:
        raise MetadataError("its XMP has a document type, which XMP has not")

    def begin(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise MetadataError("its XMP has elements nested too deeply")

    def end(_: object) -> None:
        nonlocal depth
        depth -= 1

    parser = ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.Parse(content, True)


def _serialised(node: Node) -> str:
    """XML of a node. minidom's own leaves line breaks in attributes as they are, and the next reader loses them."""
    if isinstance(node, Element):
        values = ((name, quoteattr(value)) for name, value in node.attributes.items())
        start = "".join((f"<{node.tagName}", *(f" {name}={value}" for name, value in values)))
        inner = "".join(map(_serialised, node.childNodes))
        return f"{start}>{inner}</{node.tagName}>" if inner else f"{start}/>"
    if node.nodeType == node.TEXT_NODE:
        return escape(node.data, {"\r": "&#13;"})
    return node.toxml()  # comments, CDATA and processing instructions are as they were
