"""`backchannel token`"""

from __future__ import annotations

from typing import Annotated

import typer

from .failures import server_extra
from .options import Config, Data, SecretFile, Span, settings_of

__all__ = ["token"]


def token(
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Whom the token is for.", show_default=False)],
    lifetime: Annotated[float, Span] = "1d",  # type: ignore[assignment]  # typer parses it
    channel: Annotated[
        list[str] | None,
        typer.Option(
            "--channel",
            metavar="CHANNEL",
            help="A channel that its holder hears from the start; may be repeated.",
            show_default=False,
        ),
    ] = None,
    cap: Annotated[
        list[str] | None,
        typer.Option(
            "--cap",
            metavar="PATTERN",
            help="Limit it to this: call:NAME, listen:CHANNEL or publish:CHANNEL, where * may end it; may be repeated.",
            show_default=False,
        ),
    ] = None,
    token_id: Annotated[
        str | None,
        typer.Option(
            "--token-id",
            metavar="TEXT",
            help="An id by which `backchannel revoke` can end this one token.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    data: Data = None,
    secret_file: SecretFile = None,
) -> None:
    """Print a token for a user, good for the server that has the same settings.

    Without a configured secret it is signed with the development secret of the data folder,
    as in the folder where `backchannel serve --dev` runs:

      backchannel token --user alice
      backchannel token --user screen --lifetime 30d --channel metrics:host --cap 'listen:metrics:*'
      backchannel token --user alice --token-id wall-1
      BACKCHANNEL_TOKEN=$(backchannel token --user alice) python bot.py
    """
    with server_extra("token"):
        from ..auth.claims import TokenRules
        from ..auth.secret import local_secret
        from ..auth.tokens import issue_token
    settings = settings_of(config, data=data, secret_file=secret_file)
    secret = local_secret(settings)
    try:
        issued = issue_token(
            secret,
            user,
            lifetime=lifetime,
            channels=channel or (),
            caps=cap or None,
            token_id=token_id,
            rules=TokenRules.of(settings),
        )
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from None
    print(issued)
