"""What Outlook posts, and what others post instead of it."""

from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.web.autodiscover_request import AutodiscoverRequest, NotARequest, read_request

OUTLOOK = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
REQUEST = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"


def posted(address, *schemas):
    inner = "".join(f"<AcceptableResponseSchema>{escape(one)}</AcceptableResponseSchema>" for one in schemas)
    return (
        f'<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="{REQUEST}"><Request>'
        f"<EMailAddress>{escape(address)}</EMailAddress>{inner}</Request></Autodiscover>"
    )


def test_as_outlook_sends_it():
    assert read_request(posted("alice@a.test", OUTLOOK).encode()) == AutodiscoverRequest(
        "alice@a.test", (OUTLOOK,)
    )


def test_namespaces_encodings_and_order_make_no_difference():
    text = (
        '<a:Autodiscover xmlns:a="x"><a:Request><a:AcceptableResponseSchema> s </a:AcceptableResponseSchema>'
        "<LegacyDN>/o=x</LegacyDN><a:EMailAddress>\n bob@a.test\n</a:EMailAddress></a:Request>"
        "</a:Autodiscover>"
    )
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert read_request(text.encode(encoding)) == AutodiscoverRequest("bob@a.test", ("s",))


@pytest.mark.parametrize(
    "document",
    [
        "",
        "<",
        "<Autodiscover/>",
        "<Request><EMailAddress>a@a.test</EMailAddress></Request>",
        "<Autodiscover><EMailAddress>a@a.test</EMailAddress></Autodiscover>",
        "<Autodiscover><Request><LegacyDN>/o=x</LegacyDN></Request></Autodiscover>",
        "<!DOCTYPE Autodiscover>" + posted("alice@a.test").partition("?>")[2],
        '<!DOCTYPE x [<!ENTITY a "alice@a.test">]><Autodiscover><Request><EMailAddress>&a;</EMailAddress>'
        "</Request></Autodiscover>",
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Autodiscover><Request><EMailAddress>&a;'
        "</EMailAddress></Request></Autodiscover>",
        "<Autodiscover>" * 11 + "</Autodiscover>" * 11,
        '<?xml version="1.0" encoding="klingon"?><Autodiscover/>',
        posted("alice@a.test") + "<more/>",
    ],
)
def test_what_is_refused(document):
    with pytest.raises(NotARequest):
        read_request(document.encode())


@given(
    st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_octets_are_refused_or_read(document):
    try:
        read_request(document)
    except NotARequest:
        pass


_XML = st.characters(min_codepoint=0x20, exclude_categories=("Cs",), exclude_characters="\ufffe\uffff")


@given(st.text(_XML, min_size=1, max_size=600), st.lists(st.text(_XML, max_size=50), max_size=12))
def test_what_is_written_is_what_is_read(address, schemas):
    document = posted(address, *schemas).encode()
    if not address.strip():
        with pytest.raises(NotARequest):
            read_request(document)
        return
    read = read_request(document)
    assert read.address == address[:500].strip()
    assert read.schemas == tuple(schema.strip() for schema in schemas)[:10]


@given(st.data())
def test_a_document_that_is_damaged_harms_nobody(data):
    document = bytearray(posted("alice@a.test", OUTLOOK).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(document) - 1))
        document[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    try:
        assert len(read_request(bytes(document)).schemas) <= 10
    except NotARequest:
        pass
