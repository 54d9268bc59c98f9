"use strict";

// On phones, the rows of these tables are boxes: each cell says the name of its column.
const label = () => {
    for (const table of document.querySelectorAll(".tf-boxes")) {
        const names = Array.from(table.tHead?.rows[0].cells ?? [], (cell) => cell.textContent.trim());
        for (const row of table.tBodies[0]?.rows ?? []) {
            Array.from(row.cells).forEach((cell, place) => {
                if (cell.colSpan > 1) return;
                if (cell.textContent.trim() || cell.querySelector("input, button")) cell.dataset.label = names[place] ?? "";
                else cell.dataset.blank = "";
            });
        }
    }
};
document.addEventListener("DOMContentLoaded", label);
// A part of the page is new: see live.js.
document.addEventListener("taifish:new", label);
