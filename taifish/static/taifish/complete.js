"use strict";

// Suggestions for a field, asked for while a person types: the list named by the field is filled with them.
for (const field of document.querySelectorAll("[data-complete]")) {
    const list = field.list;
    let asked = 0;
    let timer;

    const ask = async () => {
        const turn = ++asked;
        const query = new URLSearchParams(new FormData(field.form));
        const answer = await fetch(`${field.dataset.complete}?${query}`, {credentials: "same-origin"});
        if (turn !== asked || !answer.ok) return;
        const {paths} = await answer.json();
        list.replaceChildren(...paths.map((path) => Object.assign(document.createElement("option"), {value: path})));
    };
    field.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(ask, 150);
    });
    field.addEventListener("focus", ask, {once: true});
}
