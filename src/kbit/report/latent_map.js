const data = JSON.parse(document.getElementById("kbit-data").textContent);
const $ = (id) => document.getElementById(id);
const circles = [...document.querySelectorAll("circle")];
const told = $("told"), near = $("near"), key = $("key");
let kept = null;

function place() {
  const points = data.places[$("plane").value];
  circles.forEach((circle, i) => {
    circle.setAttribute("cx", points[i][0]);
    circle.setAttribute("cy", points[i][1]);
  });
  $("axes").textContent = data.axes[$("plane").value].join(" and ");
}

function colour() {
  const groups = data.groups[$("colour").value];
  circles.forEach((circle, i) => circle.setAttribute("fill", data.colours[groups.of[i] % data.colours.length]));
  key.replaceChildren(...groups.names.map((name, i) => {
    const item = document.createElement("li"), mark = document.createElement("span");
    mark.style.background = data.colours[i % data.colours.length];
    const count = groups.of.filter((g) => g === i).length;
    item.append(mark, `${name} (${count})`);
    return item;
  }));
}

function tell(i) {
  const groups = Object.entries(data.groups).map(([name, g]) => `${name}: ${g.names[g.of[i]]}`);
  told.textContent = `${data.names[i]} · ${groups.join(" · ")}\n${data.texts[i]}`;
  near.replaceChildren(...data.neighbours[i].map((j) => {
    const item = document.createElement("li");
    item.textContent = data.texts[j];
    return item;
  }));
  circles.forEach((circle, j) => {
    circle.classList.toggle("kept", j === i);
    circle.classList.toggle("near", data.neighbours[i].includes(j));
  });
}

function find() {
  const words = $("find").value.trim().toLowerCase();
  circles.forEach((circle, i) =>
    circle.classList.toggle("pale", words !== "" && !data.texts[i].toLowerCase().includes(words)));
}

$("map").addEventListener("pointerover", (event) => {
  const i = event.target.dataset?.i;
  if (i !== undefined && kept === null) tell(Number(i));
});
$("map").addEventListener("click", (event) => {
  const i = event.target.dataset?.i;
  kept = i === undefined ? null : Number(i);
  if (kept !== null) tell(kept);
});
$("plane").addEventListener("change", place);
$("colour").addEventListener("change", colour);
$("find").addEventListener("input", find);
place();
colour();
document.documentElement.dataset.drawn = "";
