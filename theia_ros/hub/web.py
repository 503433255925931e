"""One answer of a server, or a range of a file; what went wrong, in one line.

The standard library's client is used: it honours `https_proxy` and its kin, and the rest is
short. Redirects are followed here, because the hub describes a file in the answer that
redirects, and because its token must not travel to the host that holds the content.
"""

from __future__ import annotations

import http.client
import os
import re
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError
from urllib.error import URLError
from urllib.parse import urljoin
from urllib.parse import urlsplit
from urllib.request import build_opener
from urllib.request import HTTPRedirectHandler
from urllib.request import Request

import theia_ros
from theia_ros.errors import WeightsError
from theia_ros.hub.patience import patiently
from theia_ros.hub.patience import Report
from theia_ros.hub.patience import TransientError
from theia_ros.hub.sources import hub_url

TIMEOUT_S = 30.0
"""Of silence, after which a connection counts as lost."""
MAX_REDIRECTS = 10

_TRANSIENT = (408, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_CONTENT_RANGE = re.compile(r'bytes (\d+)-(\d+)/(\d+)')


class RangesIgnoredError(WeightsError):
    """A server sends a file as a whole where a part of it was asked for."""


@dataclass(frozen=True)
class Remote:
    """What a server says of a file.

    Attributes:
        revision: Commit that it belongs to, 40 hexadecimal digits.
        etag: Changes with the content.
        size: In bytes.
        sha256: Of the content, where the server offers it.
    """

    revision: str | None
    etag: str | None
    size: int
    sha256: str | None


def look_up(url: str) -> Remote:
    """Ask a server what it has at an address, without the content.

    Raises:
        TransientError: Another try may help.
        WeightsError: Nothing is there, or not for us.
    """
    hops: list[Message] = []
    with _open(url, 'HEAD', {}, hops) as response:
        length = response.headers['Content-Length']
    headers = {name.lower(): value for hop in hops for name, value in hop.items()}
    linked = headers.get('x-linked-etag')
    size = headers.get('x-linked-size', length)
    if not size or not size.isdecimal():
        raise WeightsError(f'{_bare(url)}: the server does not say how large the file is')
    etag = (linked or headers.get('etag') or '').removeprefix('W/').strip('"')
    commit = headers.get('x-repo-commit', '')
    return Remote(
        revision=commit if re.fullmatch('[0-9a-f]{40}', commit) else None,
        etag=etag or None,
        size=int(size),
        # The hub's tag of a large file is its SHA-256, that of a small one a Git hash.
        sha256=etag if re.fullmatch('[0-9a-f]{64}', etag) else None,
    )


def open_range(url: str, begin: int, end: int, size: int) -> http.client.HTTPResponse:
    """Return an answer that yields the bytes from `begin` up to `end`, or fewer.

    Args:
        url: Address of a file.
        begin: First byte.
        end: One past the last byte.
        size: Of the whole file. If all of it is wanted, no range is asked for.

    Raises:
        TransientError: Another try may help.
        RangesIgnoredError: The server sends whole files only.
        WeightsError: It sends something else.
    """
    whole = (begin, end) == (0, size)
    response = _open(url, 'GET', {} if whole else {'Range': f'bytes={begin}-{end - 1}'})
    try:
        if response.status == 206:
            told = response.headers['Content-Range'] or 'no range'
            match = _CONTENT_RANGE.fullmatch(told)
            if not match or (int(match[1]), int(match[3])) != (begin, size):
                raise WeightsError(
                    f'{_bare(url)}: the server sends {told}; '
                    f'expected bytes {begin}-{end - 1}/{size}'
                )
        elif not whole:
            raise RangesIgnoredError(f'{_bare(url)}: the server does not send parts of files')
        else:
            length = response.headers['Content-Length']
            if length and length != str(size):
                raise WeightsError(
                    f'{_bare(url)}: the server sends {length} bytes; it announced {size}'
                )
    except WeightsError:
        response.close()
        raise
    return response


def read(response: http.client.HTTPResponse, size: int) -> bytes:
    """Return up to `size` bytes; none at the end of the answer.

    Raises:
        TransientError: The connection is lost.
    """
    try:
        return response.read(size)
    except (OSError, http.client.HTTPException) as exc:
        raise TransientError(f'the connection was lost: {_said(exc)}') from exc


def read_range(url: str, begin: int, end: int, size: int, report: Report) -> bytes:
    """Return the bytes of a file from `begin` up to `end`, all of them."""

    def once() -> bytes:
        with open_range(url, begin, end, size) as response:
            content = read(response, end - begin)
        if len(content) != end - begin:
            raise TransientError(
                f'{_bare(url)}: the answer ended after {len(content)} of {end - begin} bytes'
            )
        return content

    return patiently(once, report)


def _open(
    url: str, method: str, headers: dict[str, str], hops: list[Message] | None = None
) -> http.client.HTTPResponse:
    """Follow redirects up to an answer, or up to the redirect that describes a large file."""
    start = url
    for _ in range(MAX_REDIRECTS + 1):
        if urlsplit(url).scheme not in ('http', 'https') or not urlsplit(url).netloc:
            raise WeightsError(f'{_bare(url)} is no web address; check HF_ENDPOINT')
        try:
            response: http.client.HTTPResponse = build_opener(_NoRedirect).open(
                Request(url, method=method, headers={**headers, **_identity(url)}),
                timeout=TIMEOUT_S,
            )
        except HTTPError as exc:
            if exc.code in _REDIRECTS and hops is not None:
                hops.append(exc.headers)
                if exc.headers['X-Linked-Etag'] and exc.headers['X-Linked-Size']:
                    # The content's host may accept GET only: its address is signed.
                    return exc  # type: ignore[return-value]
            exc.close()
            if method == 'HEAD' and exc.code in (405, 501):
                method = 'GET'
                continue
            if exc.code not in _REDIRECTS or not exc.headers['Location']:
                raise _refusal(url, exc.code, exc.headers) from exc
            target = urljoin(url, exc.headers['Location'])
            if urlsplit(url).scheme == 'https' and urlsplit(target).scheme == 'http':
                raise WeightsError(f'{_bare(url)} redirects to {_bare(target)}; refused') from exc
            url = target
        except (OSError, http.client.HTTPException) as exc:
            raise _unreachable(url, exc) from exc
        except ValueError as exc:
            raise WeightsError(f'{_bare(url)} is no web address: {_said(exc)}') from exc
        else:
            if hops is not None:
                hops.append(response.headers)
            return response
    raise WeightsError(f'{_bare(start)} redirects more than {MAX_REDIRECTS} times')


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *args: object, **kwargs: object) -> None:
        """Leave redirects to `_open`."""


def _identity(url: str) -> dict[str, str]:
    headers = {
        'User-Agent': f'theia_ros/{theia_ros.__version__}',
        'Accept-Encoding': 'identity',  # lengths and ranges are those of the file
    }
    if urlsplit(url)[:2] == urlsplit(hub_url())[:2] and (token := _token()):
        headers['Authorization'] = f'Bearer {token}'
    return headers


def _token() -> str | None:
    """Return the token that the hub's own tools would use."""
    home = os.environ.get('HF_HOME') or Path.home() / '.cache' / 'huggingface'
    path = Path(os.environ.get('HF_TOKEN_PATH') or Path(home) / 'token')
    token = os.environ.get('HF_TOKEN') or os.environ.get('HUGGING_FACE_HUB_TOKEN') or ''
    if not token and path.is_file():
        try:
            token = path.read_text(encoding='ascii')
        except (OSError, UnicodeDecodeError) as exc:
            raise WeightsError(f'{path}: the token in it cannot be read: {_said(exc)}') from exc
    token = token.strip()
    if not re.fullmatch('[!-~]*', token):
        raise WeightsError('the token of HF_TOKEN holds characters that no token has')
    return token or None


def _refusal(url: str, status: int, headers: Message) -> WeightsError:
    said = headers['X-Error-Message'] or http.client.responses.get(status, 'no reason given')
    text = f'{_bare(url)}: the server says {status} {_one_line(said)}'
    if status in _TRANSIENT:
        after = headers['Retry-After'] or ''
        return TransientError(text, float(after) if after.isdecimal() else 0.0)
    if status == 401:
        return WeightsError(f'{text}; set HF_TOKEN to a valid token, and check the address')
    if status == 403:
        return WeightsError(
            f'{text}; ask for access on its page, and set HF_TOKEN to a token that has it'
        )
    if status == 416:
        return WeightsError(f'{text}; the file has fewer bytes than the server announced')
    return WeightsError(f'{text}; check HF_ENDPOINT, or name a folder that has the model')


def _unreachable(url: str, exc: Exception) -> WeightsError:
    reason = exc.reason if isinstance(exc, URLError) else exc
    host = urlsplit(url).netloc.rpartition('@')[2]
    text = f'cannot reach {host}: {_said(reason)}; check the network, HF_ENDPOINT and https_proxy'
    if 'CERTIFICATE' in text:
        return WeightsError(f'{text}; SSL_CERT_FILE names the certificates of a company proxy')
    return TransientError(text)


def _said(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return f'no answer for {TIMEOUT_S:g} s'
    text = (reason.strerror if isinstance(reason, OSError) else None) or str(reason)
    return _one_line(text) or type(reason).__name__


def _one_line(text: str) -> str:
    """Return what a stranger wrote, fit for a message: short, and without control characters."""
    text = ' '.join(''.join(c if c.isprintable() else ' ' for c in text).split())
    return text if len(text) <= 200 else f'{text[:199]}…'


def _bare(url: str) -> str:
    """Return an address without passwords and signatures."""
    parts = urlsplit(url)
    return f'{parts.scheme}://{parts.netloc.rpartition("@")[2]}{parts.path}'
