"use strict";

// Ctrl-K leads to the search field of the page, or to the page of the search where the field does not fit; so does "/"
// where the page has no list, whose own field it leads to.
document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    const list = document.getElementById("searchbar");
    const slash = event.key === "/" && !typing && !list && !event.ctrlKey && !event.metaKey && !event.altKey;
    const k = event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey;
    const field = document.getElementById("tf-search");
    if (!field || !(slash || k)) return;
    event.preventDefault();
    const fields = [field, document.querySelector(".tf-search-input")];
    const seen = fields.find((one) => one?.offsetParent);
    if (!seen) return location.assign(field.form.action);
    seen.focus();
    seen.select();
});
