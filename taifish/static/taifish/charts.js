"use strict";
// unfold draws when the page has loaded, which is after deferred scripts and before what follows the load here.
if (!window.chartsAreOurs) {
    window.chartsAreOurs = true;
    const axis = DEFAULT_CHART_OPTIONS.scales.y;
    const label = axis.ticks.callback;
    // Chart.js adds up steps in floating point: without this the axis says 1.2000000000000002.
    axis.ticks.callback = function (value) {
        return label.call(this, Number(value.toPrecision(6)));
    };
    axis.beginAtZero = true;
    addEventListener("load", () => {
        for (const canvas of document.querySelectorAll(".tf-chart canvas")) {
            const chart = Chart.getChart(canvas);
            if (chart) {
                complete(chart);
                follow(chart);
                select(chart);
            }
        }
    });

    function complete(chart) {
        chart.options.scales.y.stacked = Boolean(chart.data.stacked);
        chart.options.plugins.legend.display = chart.data.datasets.length > 1;
        chart.options.interaction = { mode: "index", intersect: false };
        chart.update();
    }

    // A click on a point opens what its label, or its series, stands for.
    function follow(chart) {
        const { links, datasets } = chart.data;
        const link = (event) => {
            const [point] = chart.getElementsAtEventForMode(
                event, links.length ? "index" : "nearest", { intersect: false }, true);
            return point && (links[point.index] || datasets[point.datasetIndex].link);
        };
        chart.canvas.addEventListener("click", (event) => {
            const url = link(event);
            if (url && !chart.wasDragged) location.assign(url);
        });
        chart.options.onHover = (event) => {
            chart.canvas.style.cursor = link(event.native) ? "pointer" : "";
        };
    }

    // Dragging with the mouse chooses a range of labels.
    function select(chart) {
        const { canvas } = chart;
        const range = canvas.parentElement.querySelector(".tf-range");
        const note = canvas.parentElement.nextElementSibling;
        let from = null;
        const zoom = (min, max) => {
            const { x, y } = chart.options.scales;
            [x.min, x.max, y.beginAtZero] = [min, max, min === undefined];
            chart.update();
            note.hidden = min === undefined || chart.scales.y.min === 0;
        };
        canvas.addEventListener("pointerdown", (event) => {
            chart.wasDragged = false;
            if (event.button === 0 && event.pointerType !== "touch") {
                from = event.offsetX;
                canvas.setPointerCapture(event.pointerId);
            }
        });
        canvas.addEventListener("pointermove", (event) => {
            if (from === null || Math.abs(event.offsetX - from) < 6) return;
            chart.wasDragged = true;
            range.hidden = false;
            range.style.left = `${Math.min(from, event.offsetX)}px`;
            range.style.width = `${Math.abs(event.offsetX - from)}px`;
        });
        canvas.addEventListener("pointerup", (event) => {
            range.hidden = true;
            if (from !== null && chart.wasDragged) {
                const [first, last] = [from, event.offsetX]
                    .sort((one, other) => one - other)
                    .map((at) => Math.round(chart.scales.x.getValueForPixel(at)));
                const end = chart.data.labels.length - 1;
                if (last > first) zoom(Math.max(first, 0), Math.min(last, end));
            }
            from = null;
        });
        note.querySelector("button").addEventListener("click", () => zoom());
    }
}
