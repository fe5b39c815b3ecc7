"""The page of a study, with STUDY_DATA and EXPRESSION where its questions and the expression's name go."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Which face shows EXPRESSION?</title>
<style>
:root{color-scheme:light dark;--ink:#1d1d1f;--soft:#66666b;--line:#c9c9ce;--paper:#fff;--go:#0072b2}
@media(prefers-color-scheme:dark){:root{--ink:#ececf0;--soft:#a0a0a8;--line:#4a4a50;--paper:#161618;--go:#56b4e9}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:640px;padding:16px;font:17px/1.45 system-ui,sans-serif;color:var(--ink);
background:var(--paper)}
h1{font-size:1.25em;min-height:2.9em;margin:.4em 0;display:flex;align-items:end}
#pair{display:grid;grid-template-columns:1fr 1fr;gap:8px}
#pair img{display:block;width:100%;aspect-ratio:1;border-radius:8px}
#buttons{display:grid;grid-template-columns:1fr 1fr;gap:8px;margin:8px 0}
button,a.button{font:inherit;color:inherit;background:none;border:2px solid var(--line);border-radius:8px;padding:12px;
text-align:center;text-decoration:none;cursor:pointer;touch-action:manipulation}
button:focus-visible,button:hover,a.button:hover{border-color:var(--go)}
#foot{display:flex;justify-content:space-between;gap:8px;align-items:center;color:var(--soft);font-size:.85em}
#foot button,#foot a{padding:6px 10px;border-width:1px}
progress{width:100%;height:6px;accent-color:var(--go)}
[hidden]{display:none!important}
</style></head>
<body>
<noscript>This page needs JavaScript; it sends nothing anywhere.</noscript>
<progress id="bar" value="0"></progress>
<h1 id="ask"></h1>
<div id="asking">
<div id="pair"><img id="left" alt="left picture"><img id="right" alt="right picture"></div>
<div id="buttons"><button id="one"></button><button id="two"></button></div>
</div>
<p id="thanks" hidden>Thank you. Save the answers and send the file to whoever asked you; this page sends nothing by
itself.</p>
<div id="foot"><button id="back">Back</button><span id="count"></span><a id="save" class="button">Save answers</a></div>
<script>
"use strict";
const study = STUDY_DATA;
const words = {
  real: ["Which of the two looks more like a real photograph?", "1: left", "2: right"],
  shows: ["Which of the two shows more " + study.expression + "?", "1: left", "2: right"],
  same: ["Is it the same person in both?", "1: yes", "2: no"],
};
const place = "mien study " + study.study;
let state = {study: study.study, rater: Math.random().toString(36).slice(2, 12), answers: []};
try {
  const stored = JSON.parse(localStorage.getItem(place));
  if (stored && stored.study === study.study) state = stored;
} catch (error) { /* a browser that keeps nothing */ }
const get = id => document.getElementById(id);
let file = null;

function show() {
  const done = state.answers.length, all = study.questions.length, over = done >= all;
  try { localStorage.setItem(place, JSON.stringify(state)); } catch (error) { /* a browser that keeps nothing */ }
  get("bar").max = all;
  get("bar").value = done;
  get("count").textContent = done + " of " + all;
  get("back").disabled = !done;
  get("asking").hidden = over;
  get("thanks").hidden = !over;
  get("save").hidden = !done;
  if (file) URL.revokeObjectURL(file);
  file = URL.createObjectURL(new Blob([JSON.stringify(state)], {type: "application/json"}));
  get("save").href = file;
  get("save").download = "answers-" + state.rater + ".json";
  if (over) { get("ask").textContent = "That was all."; return; }
  const [ask, left, right] = study.questions[done];
  [get("ask").textContent, get("one").textContent, get("two").textContent] = words[ask];
  get("left").src = left;
  get("right").src = right;
}
function answer(choice) {
  if (state.answers.length >= study.questions.length) return;
  state.answers.push(choice);
  show();
}
function back() { state.answers.pop(); show(); }
get("one").onclick = () => answer(1);
get("two").onclick = () => answer(2);
get("back").onclick = back;
document.onkeydown = event => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "1" || event.key === "2") answer(Number(event.key));
  if (event.key === "Backspace") back();
};
show();
</script>
</body></html>
"""
