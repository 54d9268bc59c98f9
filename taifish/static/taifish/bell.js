"use strict";

// The number of unread alerts, once for each page. Without an answer the bell has no number: unknown is not none.
document.addEventListener("DOMContentLoaded", async () => {
    const bell = document.querySelector("[data-unread]");
    if (!bell) return;
    try {
        const answer = await fetch(bell.dataset.unread, {credentials: "same-origin", redirect: "manual"});
        if (!answer.ok) return;
        const {unread} = await answer.json();
        const number = bell.querySelector("b");
        number.hidden = !unread;
        number.textContent = unread > 99 ? "99+" : unread;
        bell.setAttribute("aria-label", `${bell.title}: ${unread}`);
    } catch {
        // The page was left, or the server restarts.
    }
});
