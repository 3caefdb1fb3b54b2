"""What somebody writes with the client of openapi-python-client: python over_http.py URL TOKEN"""

from __future__ import annotations

import json
import sys

from chat_client import AuthenticatedClient  # type: ignore[import-not-found]
from chat_client.api.channel import channel_members  # type: ignore[import-not-found]
from chat_client.api.message import message_list, message_list_post, message_send  # type: ignore[import-not-found]
from chat_client.models import (  # type: ignore[import-not-found]
    ListMessages,
    MemberList,
    Message,
    MessagePage,
    Problem,
    SendMessage,
)

_, url, token = sys.argv
with AuthenticatedClient(base_url=url, token=token) as client:
    wish = SendMessage(channel="chat:lobby", text="generated")
    sent = message_send.sync(client=client, body=wish, idempotency_key="generated-1")
    again = message_send.sync(client=client, body=wish, idempotency_key="generated-1")
    assert isinstance(sent, Message)
    assert sent == again
    page = message_list.sync(client=client, channel="chat:lobby", after=sent.seq - 1)
    assert isinstance(page, MessagePage)
    assert page == message_list_post.sync(client=client, body=ListMessages(channel="chat:lobby", after=sent.seq - 1))
    members = channel_members.sync(client=client, channel="chat:lobby")
    assert isinstance(members, MemberList)
    owners = [member.user for member in members.members if member.role == "owner"]
    refused = message_list.sync(client=client, channel="chat:nowhere")
    assert isinstance(refused, Problem)
    print(json.dumps({"texts": [message.text for message in page.messages], "owners": owners, "code": refused.code}))
