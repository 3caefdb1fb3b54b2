"""KeySets: verifies tokens that issuers sign with keys of their own, found in their JSON Web Key Sets.

No claim is used before the signature is verified: where the keys are is the operator's word, the candidates are those
keys whose `kid` and algorithm fit, and the issuer is the one whose key has signed. Only then `iss` is compared with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import jwt

from ..settings import ConfigurationError, Settings
from .claims import TokenRules, principal_of, refused
from .header import read_header
from .jwks import ALGORITHMS, PublicKey
from .key_set import Document, KeySet, Source, file_source
from .principal import Principal
from .remembered import Remembered

if TYPE_CHECKING:
    from .fetching import Fetcher

__all__ = ["KeySets"]

_MAX_FILE: Final = 256 * 1024


class KeySets:
    """The key sets of all issuers that the operator trusts. Use it on one loop; close it there.

    All issuers share one space of user names: one that is trusted may speak for any user.
    """

    def __init__(
        self,
        sources: Iterable[tuple[str, str, Source]],
        rules: TokenRules,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            sources: issuer, where its keys are (for the log), and what reads them.
            rules: what is asked of tokens.
            now: a clock that never goes back, in seconds.
        """
        self._rules = rules
        self._verified = Remembered()
        self._sets: Sequence[KeySet] = [
            KeySet(issuer, where, source, changed=self._verified.clear, now=now) for issuer, where, source in sources
        ]
        self._fetcher: Fetcher | None = None

    @classmethod
    async def open(cls, settings: Settings) -> KeySets | None:
        """The key sets that these settings name, files read and URLs being fetched; None if they name none.

        Raises:
            ConfigurationError: an entry cannot serve; the message names it and tells the cure.
        """
        if not settings.jwks:
            return None
        fetcher: Fetcher | None = None
        sources: list[tuple[str, str, Source]] = []
        for entry in settings.jwks:
            issuer, _, where = entry.partition("=")
            if "://" in where:
                if fetcher is None:
                    # Only who fetches pays for loading an HTTP client.
                    from .fetching import Fetcher

                    fetcher = Fetcher(dev=settings.dev)
                fetcher.check(where)
                sources.append((issuer, where, _url_source(fetcher, where)))
            else:
                sources.append((issuer, where, file_source(where, _MAX_FILE)))
        made = cls(sources, TokenRules.of(settings))
        made._fetcher = fetcher
        for key_set in made._sets:
            if "://" in key_set.where:
                key_set.warm()
                continue
            try:
                await key_set.load()
            except Exception as exc:
                await made.close()
                raise ConfigurationError(f"The key set {key_set.where} of {key_set.issuer}: {exc}.") from exc
        return made

    async def close(self) -> None:
        """Stop what is being read."""
        for key_set in self._sets:
            await key_set.close()
        if self._fetcher is not None:
            await self._fetcher.close()

    def remembered(self, token: str, wall: float) -> Principal | None:
        """Who holds this token, if it was verified before with keys that still hold; arguments as in `verify`."""
        known = self._verified.get(token, wall)
        if known is not None:
            # Also where all tokens are remembered, a key that was taken out of its set must be noticed.
            for key_set in self._sets:
                key_set.tend()
        return known

    async def verify(self, token: str, wall: float) -> Principal:
        """Who holds this token.

        Cancelling it gives up the wait for keys.

        Args:
            token: as it was shown.
            wall: the time now, Unix seconds.

        Raises:
            Refused: `unauthenticated`, saying what is wrong with it; `unavailable`, if an issuer's keys cannot be had.
        """
        known = self.remembered(token, wall)
        if known is not None:
            return known
        header = read_header(token)
        if header.alg not in ALGORITHMS:
            raise refused("The token is not signed with an algorithm that is accepted here.")
        lacking = []
        for key_set in self._sets:
            keys = key_set.known(header.kid, header.alg)
            signed = _signed(token, keys)
            if signed is not None:
                return self._accept(token, signed, wall, key_set)
            if not keys:
                lacking.append(key_set)
        found = await asyncio.gather(
            *(key_set.find(header.kid, header.alg) for key_set in lacking), return_exceptions=True
        )
        failure: BaseException | None = None
        for key_set, answer in zip(lacking, found, strict=True):
            if isinstance(answer, BaseException):
                failure = answer
                continue
            signed = _signed(token, answer)
            if signed is not None:
                return self._accept(token, signed, wall, key_set)
        if failure is not None:
            raise failure
        raise refused("The token is not signed with a key of an issuer that is trusted here.")

    def _accept(self, token: str, signed: bytes, wall: float, key_set: KeySet) -> Principal:
        principal = principal_of(signed, wall, self._rules, key_set.issuer)
        self._verified.put(token, principal)
        return principal


def _signed(token: str, keys: Iterable[PublicKey]) -> bytes | None:
    """The claims, if one of these keys has signed them.

    Raises:
        Refused: `unauthenticated`, it is no token.
    """
    for key in keys:
        try:
            signed = key.verify(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise refused("The token is not a valid JSON Web Token.") from None
        if signed is not None:
            return signed
    return None


def _url_source(fetcher: Fetcher, url: str) -> Source:
    async def source() -> Document:
        return await fetcher.get(url)

    return source
