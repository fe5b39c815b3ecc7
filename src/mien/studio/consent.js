// The page on consent is shown at the first visit, and again by the button at the foot. The browser remembers.
const dialog = element.querySelector("dialog");
const seen = "mien-consent";
let known = true;
try { known = localStorage.getItem(seen); } catch { /* a browser that keeps nothing: do not ask at each visit */ }
dialog.addEventListener("close", () => { try { localStorage.setItem(seen, "1"); } catch { } });
element.querySelector("#consent-again").addEventListener("click", () => dialog.showModal());
if (!known) dialog.showModal();
