"use strict";

// Choose review items by keys: j and k move, x chooses, r goes to the reason.
for (const form of document.querySelectorAll("[data-review]")) {
    const boxes = [...form.querySelectorAll("input[name=items]")];
    const all = form.querySelector("[data-all]");
    all?.addEventListener("change", () => boxes.forEach((box) => { box.checked = all.checked; }));
    document.addEventListener("keydown", (event) => {
        const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
        if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
        const at = boxes.indexOf(document.activeElement);
        if (event.key === "j") boxes[Math.min(at + 1, boxes.length - 1)]?.focus();
        else if (event.key === "k") boxes[Math.max(at - 1, 0)]?.focus();
        else if (event.key === "x" && at >= 0) boxes[at].checked = !boxes[at].checked;
        else if (event.key === "r") form.elements.reason?.focus();
        else return;
        event.preventDefault();
    });
}
