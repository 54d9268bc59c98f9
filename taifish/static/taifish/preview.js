"use strict";

// What the form would do, asked for while it is filled in.
for (const place of document.querySelectorAll("[data-preview]")) {
    const form = place.closest("form");
    let asked = 0;
    let timer;

    const ask = async () => {
        const turn = ++asked;
        const query = new URLSearchParams({id: place.dataset.id});
        for (const [name, value] of new FormData(form)) {
            if (name !== "csrfmiddlewaretoken" && typeof value === "string") query.append(name, value);
        }
        const answer = await fetch(`${place.dataset.preview}?${query}`, {credentials: "same-origin"});
        if (answer.ok && turn === asked) place.innerHTML = await answer.text();
    };
    form.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(ask, 300);
    });
}
