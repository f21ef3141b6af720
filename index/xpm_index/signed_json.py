"""A JSON object that carries its own signature: canonical bytes, ``signature`` over all the rest.

Index entries and publisher files share this form. Since the bytes must be canonical, no byte can be altered unnoticed.
"""

from typing import Any

from xpm_index import strict_json
from xpm_index.errors import IndexFormatError, SignatureError, XpmError
from xpm_index.keys import PublicKey, SigningKey

SIGNATURE = "signature"


def sign(document: dict[str, Any], key: SigningKey, *, domain: bytes) -> bytes:
    """The canonical bytes of ``document`` with its signature added."""
    unsigned = {name: value for name, value in document.items() if name != SIGNATURE}
    return strict_json.canonical({**unsigned, SIGNATURE: key.sign(domain + strict_json.canonical(unsigned))})


def parse(data: bytes, *, what: str) -> dict[str, Any]:
    """Parse without verifying; raises IndexFormatError unless the bytes are canonical."""
    try:
        document = strict_json.loads(data, what=what)
        canonical = strict_json.canonical(document)
    except XpmError as error:
        raise IndexFormatError(error.message, context=error.context, hint="the index was damaged or altered") from error
    if not isinstance(document, dict) or canonical != data:
        raise IndexFormatError(f"{what} is not in canonical form", hint="the index was damaged or altered")
    return document


def verify(document: dict[str, Any], key: PublicKey, *, domain: bytes, what: str) -> None:
    """Raise SignatureError unless the document's signature is ``key``'s."""
    signature = document.get(SIGNATURE)
    if not isinstance(signature, str):
        raise SignatureError(f"{what} is not signed")
    unsigned = {name: value for name, value in document.items() if name != SIGNATURE}
    key.verify(domain + strict_json.canonical(unsigned), signature, what=what)
