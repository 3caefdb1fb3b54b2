import { Client } from "/sdk/index.js";

const token = new URLSearchParams(location.hash.slice(1)).get("token");
const client = new Client(`ws://${location.host}/ws`, { token });
const poll = client.subscribe("poll:drinks");

function show(counts) {
  const rows = Object.entries(counts).map(([choice, number]) => {
    const row = document.createElement("li");
    row.textContent = `${choice}: ${number}`;
    return row;
  });
  document.querySelector("#counts").replaceChildren(...rows);
}

async function load() {
  const { data } = await client.request("poll.show", { poll: "drinks" });
  show(data.counts);
}

client.on("state", ({ state }) => {
  document.querySelector("#state").textContent = state;
});
poll.on("event", (event) => show(event.data.counts));
poll.on("subscribed", load);
poll.on("gap", () => {
  poll.dismissGap();
  void load();
});
for (const button of document.querySelectorAll("button")) {
  button.addEventListener("click", () => client.call("poll.vote", { poll: "drinks", choice: button.dataset.choice }));
}
client.connect();
