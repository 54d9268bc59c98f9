"use strict";
// Chart.js adds up steps in floating point: without this the axis says 1.2000000000000002. unfold draws when the page
// has loaded, which is after deferred scripts.
{
    const ticks = DEFAULT_CHART_OPTIONS.scales.y.ticks;
    const label = ticks.callback;
    ticks.callback = function (value) {
        return label.call(this, Number(value.toPrecision(6)));
    };
}
