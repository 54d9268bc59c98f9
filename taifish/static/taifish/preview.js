"use strict";

// Nodes of a document without a page: nothing in them loads or runs.
const parsed = (html) => new DOMParser().parseFromString(html, "text/html").body.childNodes;

// What the form would do, asked for while it is filled in; by POST where it may be long. A button with data-ask asks for
// more than is asked for at every key; its other data are parameters too.
for (const place of document.querySelectorAll("[data-preview]")) {
    const form = place.closest("form");
    let asked = 0;
    let timer;

    const ask = async (more) => {
        const turn = ++asked;
        const byPost = place.dataset.method === "post";
        const query = new URLSearchParams({id: place.dataset.id, ...more});
        for (const [name, value] of new FormData(form)) {
            if ((byPost || name !== "csrfmiddlewaretoken") && typeof value === "string") query.append(name, value);
        }
        place.setAttribute("aria-busy", "true");
        const answer = byPost
            ? await fetch(place.dataset.preview, {method: "POST", body: query, credentials: "same-origin"})
            : await fetch(`${place.dataset.preview}?${query}`, {credentials: "same-origin"});
        if (turn !== asked) return;
        if (answer.ok) place.replaceChildren(...parsed(await answer.text()));
        place.removeAttribute("aria-busy");
    };
    form.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(ask, 300);
    });
    form.addEventListener("click", (event) => {
        const button = event.target.closest("[data-ask]");
        if (button) ask({...button.dataset});
    });
}
