"""Whether a domain says that a publisher is its own: its file names the publisher's keys, and only who keeps the domain can put
it there."""

from urllib.parse import urlsplit

from xpm_index import strict_json
from xpm_index.errors import IndexFormatError, ManifestError, TrustError
from xpm_index.fields import Fields
from xpm_index.publishers import Publisher
from xpm_index.urls import is_loopback, origin_of
from xpm_index.web import Web, WebError

WELL_KNOWN = "/.well-known/xpm-publisher.json"
_MAX_BYTES = 64 << 10
_GONE = (404, 410)


class NotProvedError(TrustError):
    """The domain was asked, and does not say that the publisher's keys are its own."""


def check_domain(web: Web, domain: str, publisher: Publisher) -> None:
    """Ask ``domain`` whether every key of ``publisher`` that is not revoked is its own.

    Raises:
        NotProvedError: it does not say so. WebError: it can't be asked now.
    """
    scheme = "http" if is_loopback(urlsplit(f"//{domain}").hostname) else "https"
    url = f"{scheme}://{domain}{WELL_KNOWN}"
    try:
        with web.request(url) as answer:
            if origin_of(answer.url) != origin_of(url):
                raise NotProvedError(f"{url} redirects to elsewhere", hint="the file must lie on the domain itself")
            data = answer.read(_MAX_BYTES)
    except WebError as error:
        if error.status in _GONE:
            raise NotProvedError(f"{domain} does not vouch for {publisher.namespace}", context=error.message) from error
        raise
    said = _keys_said(data, url, publisher.namespace)
    for key in publisher.keys:
        if key.revoked_at is None and key.public.text not in said:
            raise NotProvedError(
                f"{domain} does not say that {key.public.key_id} is a key of {publisher.namespace}",
                hint=f'{WELL_KNOWN} there is {{"publishers": {{"{publisher.namespace}": ["{key.public.text}"]}}}}',
            )


def _keys_said(data: bytes, url: str, namespace: str) -> tuple[str, ...]:
    try:
        publishers = Fields(strict_json.loads(data, what=url), error=IndexFormatError).object(
            "publishers", required=True
        )
        return publishers.strings(namespace)
    except (ManifestError, IndexFormatError) as error:
        raise NotProvedError(f"{url}: {error.message}", context=error.context) from error
