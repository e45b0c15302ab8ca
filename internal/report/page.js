(function () {
	"use strict";
	var data = JSON.parse(document.getElementById("data").textContent);
	var box = document.getElementById("chart");
	if (box && data.sqnr && data.sqnr.length) {
		draw(box, data);
	}
	document.querySelectorAll("table.sortable").forEach(sortable);

	function color(name) {
		return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
	}

	// draw shows SQNR by layer with a cursor that names the layer; the static picture stays for print.
	function draw(box, d) {
		var x = d.sqnr.map(function (_, i) { return i; });
		var whole = d.sqnr.map(function (v, i) { return d.quantized[i] ? null : v; });
		var part = d.sqnr.map(function (v, i) { return d.quantized[i] ? v : null; });
		var axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line") } };
		var number = function (_, v) { return v == null ? "-" : v.toFixed(1) + " dB"; };
		var chart = new uPlot({
			width: box.clientWidth, height: 300,
			scales: { x: { time: false } },
			cursor: { y: false },
			axes: [
				Object.assign({ values: function (_, s) { return s.map(function (v) { return Number.isInteger(v) ? v : ""; }); } }, axis),
				Object.assign({ label: "SQNR dB", size: 56 }, axis)
			],
			series: [
				{ label: "layer", value: function (_, v) { return v == null ? "-" : d.names[v] + " (" + d.ops[v] + ")"; } },
				{ label: "quantized", stroke: color("--a"), fill: color("--a"), paths: function () { return null; }, points: { show: true, size: 7, fill: color("--a") }, value: number },
				{ label: "float operator", stroke: color("--f"), paths: function () { return null; }, points: { show: true, size: 5, fill: color("--bg") }, value: number }
			]
		}, [x, part, whole], box);
		document.getElementById("static").style.display = "none";
		new ResizeObserver(function () { chart.setSize({ width: box.clientWidth, height: 300 }); }).observe(box);
	}

	// sortable sorts a table by the column whose head is clicked: numbers as numbers, the rest as text.
	function sortable(table) {
		var heads = table.querySelectorAll("th");
		heads.forEach(function (th, col) {
			th.addEventListener("click", function () {
				var up = th.getAttribute("aria-sort") !== "ascending";
				heads.forEach(function (h) { h.removeAttribute("aria-sort"); });
				th.setAttribute("aria-sort", up ? "ascending" : "descending");
				var body = table.tBodies[0];
				var rows = Array.from(body.rows);
				var key = function (row) {
					var t = row.cells[col].textContent.trim();
					var n = t === "exact" ? Infinity : parseFloat(t);
					return isNaN(n) ? t : n;
				};
				rows.sort(function (a, b) {
					var x = key(a), y = key(b);
					var c = typeof x === "number" && typeof y === "number" ? (x < y ? -1 : x > y ? 1 : 0) : String(x).localeCompare(String(y));
					return up ? c : -c;
				});
				rows.forEach(function (r) { body.appendChild(r); });
			});
		});
	}
})();
