"""XMP packets: the alt text and the description of a photo, and whether seesay wrote them.

The properties are `Iptc4xmpCore:AltTextAccessibility` (IPTC Photo Metadata 2021.1, what screen readers are to say) and
`dc:description` (what photo managers show as the caption). A third, of seesay's own, keeps the sentence that it
wrote: as long as the alt text is still that sentence, nobody has edited it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal
from xml.dom.minidom import Attr, Document, Element, Text, parseString
from xml.parsers.expat import ExpatError

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


class MetadataError(SeesayError):
    """The metadata of a photo cannot be read, or nothing can be added to them."""


class Packet:
    """An XMP packet; everything in it that is not written anew stays as it is.

    Args:
        data: the packet, or None for a new one.

    Raises:
        MetadataError: it is no XMP.
    """

    def __init__(self, data: bytes | None) -> None:
        content = (data or b"").strip(b"\0 \t\r\n") or EMPTY.encode()
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:  # XMP has neither, and entities can grow without end
            raise MetadataError("its XMP has a document type, which XMP has not")
        try:
            self._document: Document = parseString(content)
        except (ExpatError, ValueError, LookupError) as error:
            raise MetadataError(f"its XMP is broken ({error})") from None
        roots = self._document.getElementsByTagNameNS(RDF, "RDF")
        if len(roots) != 1:
            raise MetadataError(f"its XMP has {len(roots)} rdf:RDF elements, expected one")
        self._root: Node = roots[0]

    def text(self, name: Name) -> str:
        """A property as text: of several languages the default one, or else the first; "" if there is none."""
        for found in self._found(name):
            if isinstance(found, Attr):
                items = [found.value]
            else:
                elements = found.getElementsByTagNameNS(RDF, "li")
                elements = sorted(elements, key=lambda li: li.getAttributeNS(XML, "lang") != "x-default")
                items = [_content(element) for element in elements or [found]]
            if text := next((item.strip() for item in items if item.strip()), ""):
                return text
        return ""

    def may_write(self, name: Name, overwrite: Overwrite) -> bool:
        """Whether a property is empty or may be replaced: with "ours" what seesay wrote and nobody has edited."""
        now = self.text(name)
        return not now or overwrite == "all" or (overwrite == "ours" and now == self.text(WRITTEN))

    def write(self, text: str, description: bool, model: str, confidence: float | None) -> None:
        """Write the alt text, and what it is from.

        Args:
            text: the caption.
            description: whether to write it as the description too.
            model: the name of the model that wrote it.
            confidence: 0 to 1, or None.
        """
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
            item = self._element(several, (RDF, "rdf", "li"))
            item.setAttributeNS(XML, "xml:lang", "x-default")
            item.appendChild(self._document.createTextNode(text))
        origin = {WRITTEN: text, MODEL: model, CONFIDENCE: "" if confidence is None else f"{confidence:.4f}"}
        for name, value in origin.items():
            if value:
                self._element(block, name).appendChild(self._document.createTextNode(value))

    def to_bytes(self) -> bytes:
        """The packet in UTF-8."""
        return "".join(node.toxml() for node in self._document.childNodes).encode()

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

    def _element(self, parent: Node, name: Name) -> Node:
        namespace, prefix, local = name
        element = self._document.createElementNS(namespace, f"{prefix}:{local}")
        parent.appendChild(element)
        return element


def _content(element: Node) -> str:
    return "".join(node.data for node in element.childNodes if isinstance(node, Text))  # also CDATA


def _remove(found: Node) -> None:
    """Remove a property, and the element that it was alone in."""
    if isinstance(found, Attr):
        owner: Node = found.ownerElement
        owner.removeAttributeNode(found)
        return
    parent: Node = found.parentNode
    parent.removeChild(found)
    rest = [node for node in parent.childNodes if not isinstance(node, Text) or node.data.strip()]
    attributes = [a for a in parent.attributes.values() if a.namespaceURI not in (XMLNS, RDF)]
    if not rest and not attributes:
        parent.parentNode.removeChild(parent)
