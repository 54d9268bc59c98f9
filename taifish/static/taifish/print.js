"use strict";

// Buttons that print the page. What is folded is printed too.
for (const button of document.querySelectorAll("[data-print]")) button.addEventListener("click", () => window.print());

let opened = [];
window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open]):not(.tf-menu)")];
    for (const part of opened) part.open = true;
});
window.addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
});
