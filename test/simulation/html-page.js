/**
 * The script of a run's page: draws the part of the run that is in view, and nothing else, so that
 * a hundred thousand events cost no more than a hundred.
 *
 * It runs in a browser, inside the page that html.ts writes. Text of the run is only ever set as
 * text content, never as markup.
 */
"use strict";
(() => {
  const element = (id) => document.getElementById(id);
  const data = JSON.parse(element("run").textContent);
  const { events, states, names, nodeCount, kinds, roles, failingStep } = data;
  const eventCount = events.step.length;
  const scroller = element("scroller");
  const canvas = element("lanes");
  const overview = element("overview");

  /** Groups of kinds: what is filtered and coloured together. A mark is a dot, an arrow or a bar. */
  const groups = [
    { name: "votes", kinds: ["voteRequest", "voteResponse"], mark: "arrow" },
    { name: "appends", kinds: ["appendRequest", "appendResponse"], mark: "arrow" },
    { name: "heartbeats", label: "empty appends", kinds: ["heartbeat"], mark: "arrow" },
    { name: "snapshots", kinds: ["snapshotOffer", "snapshotResponse"], mark: "arrow" },
    { name: "reads", kinds: ["readIndexRequest", "readIndexResponse"], mark: "arrow" },
    { name: "transfers", kinds: ["timeoutNow"], mark: "arrow" },
    { name: "lost", label: "lost messages", kinds: ["lost"], mark: "arrow" },
    { name: "faults", kinds: ["fault"], colour: "bad", mark: "diamond" },
    {
      name: "life",
      label: "starts, ends, healing",
      kinds: ["heal", "start", "resume", "ended", "removed", "removal"],
      colour: "good",
      mark: "dot",
    },
    { name: "roles", kinds: ["leads", "raft-state"], colour: "text", mark: "dot" },
    { name: "clients", kinds: [], mark: "bar" },
    { name: "violation", kinds: ["violation"], colour: "bad", mark: "ring" },
    { name: "others", label: "log lines, others", kinds: [], colour: "faint", mark: "dot" },
  ];
  const groupOfKind = kinds.map((kind) => {
    if (kind.startsWith("client-")) return groups.find((group) => group.name === "clients");
    return groups.find((group) => group.kinds.includes(kind)) ?? groups[groups.length - 1];
  });
  const groupOf = (row) => groupOfKind[events.kind[row]];
  const kindOf = (row) => kinds[events.kind[row]];
  const shownGroups = new Set(groups);

  const view = {
    axis: "events",
    scale: 18,
    width: 0,
    height: 0,
    /** The chosen event, or -1. */
    chosen: -1,
    hovered: -1,
    /** What can be pointed at: events with where they were drawn. */
    drawn: [],
  };

  // What is shown, and where on the axis. All is in units of the axis; pixels come in `yOf`.

  let rows = [];
  let rowEnd = new Float64Array(0);
  let rowBegin = new Float64Array(0);
  /** The least begin of this row and all after it: where a search for arrows may stop. */
  let beginAfter = new Float64Array(0);
  let extent = 1;
  let statesOfNode = [];
  let cutUnits = [];

  /** First place in 0..count whose value is not below what is sought. */
  function firstAt(count, valueAt, sought) {
    let low = 0;
    let high = count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (valueAt(middle) < sought) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  const originStep = events.step[0] ?? 0;
  const originTime = events.at[0] ?? 0;

  function unitOf(step, time) {
    if (view.axis === "steps") return step - originStep;
    if (view.axis === "time") return (time - originTime) / 1000;
    return firstAt(rows.length, (at) => events.step[rows[at]], step);
  }

  function place() {
    rows = [];
    for (let row = 0; row < eventCount; row += 1) if (shownGroups.has(groupOf(row))) rows.push(row);
    const count = rows.length;
    rowEnd = new Float64Array(count);
    rowBegin = new Float64Array(count);
    beginAfter = new Float64Array(count);
    for (let at = 0; at < count; at += 1) {
      const row = rows[at];
      const step = events.step[row];
      rowEnd[at] = view.axis === "events" ? at : unitOf(step, events.at[row]);
      const since = events.stepsSince[row];
      const begin =
        since === 0 ? rowEnd[at] : unitOf(step - since, events.at[row] - events.timeSince[row]);
      rowBegin[at] = Math.min(
        rowEnd[at],
        view.axis === "events" && since > 0 ? begin - 0.5 : begin,
      );
    }
    for (let at = count - 1, least = Infinity; at >= 0; at -= 1) {
      least = Math.min(least, rowBegin[at]);
      beginAfter[at] = least;
    }
    extent = Math.max(1, count === 0 ? 1 : rowEnd[count - 1]);
    placeStates();
  }

  function placeStates() {
    statesOfNode = Array.from({ length: nodeCount }, () => ({ at: [], unit: [] }));
    for (let at = 0; at < states.step.length; at += 1) {
      const of = statesOfNode[states.node[at]];
      if (of === undefined) continue;
      of.at.push(at);
      of.unit.push(Math.max(0, unitOf(states.step[at], states.at[at])));
    }
    cutUnits = data.cuts.map(([step, time, links]) => ({
      unit: Math.max(0, unitOf(step, time)),
      links,
    }));
  }

  // Scrolling: half a view of room before and after, so that everything can be in the middle.

  const pixelsMax = 8_000_000;

  function scaleLimits() {
    const max = view.axis === "events" ? 60 : 200;
    return {
      min: Math.min(max, (view.height * 0.8) / extent),
      max: Math.min(max, pixelsMax / extent),
    };
  }

  const padding = () => Math.floor(view.height / 2);
  const middleUnit = () => scroller.scrollTop / view.scale;
  const yOf = (unit) => padding() + unit * view.scale - scroller.scrollTop;
  const unitAtY = (y) => (y + scroller.scrollTop - padding()) / view.scale;

  function applyScale(scale, unit) {
    const { min, max } = scaleLimits();
    view.scale = Math.min(max, Math.max(min, scale));
    element("extent").style.height = `${String(Math.ceil(extent * view.scale + 2 * padding()))}px`;
    // All of it at once is best seen in the middle.
    const middle = extent * view.scale < view.height ? extent / 2 : Math.max(0, unit);
    scroller.scrollTop = middle * view.scale;
    request();
  }

  /** About so many events in a view, around a unit. */
  function fit(unit, count) {
    const at = firstAt(rows.length, (place) => rowEnd[place], unit);
    const from = Math.max(0, at - count / 2);
    const to = Math.min(rows.length - 1, at + count / 2);
    const span = (rowEnd[Math.floor(to)] ?? 1) - (rowEnd[Math.ceil(from)] ?? 0);
    const share = rows.length === 0 ? 1 : (to - from) / count;
    applyScale(view.axis === "events" ? 18 : (view.height * share) / Math.max(span, 1e-3), unit);
  }

  /** Sets anew what is shown, with the same moment in the middle. */
  function replace(change, isNewAxis) {
    const at = momentInMiddle();
    change();
    place();
    const unit = unitOf(at.step, at.time);
    if (isNewAxis) fit(unit, 40);
    else applyScale(view.scale, unit);
    showTable();
  }

  function momentInMiddle() {
    if (view.chosen >= 0) return { step: events.step[view.chosen], time: events.at[view.chosen] };
    const at = firstAt(rows.length, (place) => rowEnd[place], middleUnit());
    const row = rows[Math.min(at, rows.length - 1)] ?? 0;
    return { step: events.step[row] ?? 0, time: events.at[row] ?? 0 };
  }

  // Colours.

  let colours = {};

  function readColours() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    colours = { lightness: of("lightness") };
    for (const name of ["ground", "raised", "text", "faint", "line", "accent", "bad", "good"]) {
      colours[name] = of(name);
    }
    for (const group of groups) {
      group.paint = group.colour === undefined ? of(group.name) : colours[group.colour];
    }
  }

  /** No red, which is for faults, and grey before the first term. */
  const termColour = (term, opacity) => {
    const hue = String(40 + ((term * 113 + 60) % 280));
    const strength = term === 0 ? "0%" : "65%";
    return `hsl(${hue} ${strength} ${colours.lightness} / ${String(opacity)})`;
  };

  // Where things stand across the page.

  let layout = {};

  function layOut() {
    const isNarrow = view.width < 600;
    const gutter = isNarrow ? 48 : 84;
    const clientStep = isNarrow ? 7 : 14;
    const clientCount = names.length - nodeCount;
    const clientWidth = clientCount === 0 ? 0 : clientCount * clientStep + 10;
    const hasText = view.width >= 900 && view.axis === "events" && view.scale >= 13;
    const textWidth = hasText ? Math.max(320, view.width * 0.42) : 0;
    const room = view.width - gutter - clientWidth - textWidth;
    const lane = Math.max(26, Math.min(hasText ? 150 : 200, room / nodeCount));
    const plot = Math.min(30, lane * 0.3);
    const clientsAt = gutter + lane * nodeCount;
    layout = {
      ...{ gutter, clientStep, clientWidth, hasText, lane, plot, clientsAt, isNarrow },
      textAt: clientsAt + clientWidth + 8,
      right: clientsAt + clientWidth,
      xOf: (place) => {
        if (place < 0) return gutter;
        if (place < nodeCount) return gutter + place * lane + plot + 4 + Math.min(12, lane * 0.2);
        return clientsAt + 8 + (place - nodeCount) * clientStep;
      },
    };
  }

  // Drawing.

  let pen = canvas.getContext("2d");
  let isRequested = false;

  function request() {
    if (isRequested) return;
    isRequested = true;
    requestAnimationFrame(() => {
      isRequested = false;
      draw();
    });
  }

  function resize() {
    const width = scroller.clientWidth;
    const height = scroller.clientHeight;
    if (width === 0 || (width === view.width && height === view.height)) return;
    const unit = view.height === 0 ? 0 : middleUnit();
    view.width = width;
    view.height = height;
    sizeCanvas(canvas, width, height);
    sizeCanvas(overview, 26, height);
    pen = canvas.getContext("2d");
    applyScale(view.scale, unit);
  }

  function sizeCanvas(target, width, height) {
    const ratio = window.devicePixelRatio || 1;
    target.width = Math.round(width * ratio);
    target.height = Math.round(height * ratio);
    target.style.width = `${String(width)}px`;
    target.style.height = `${String(height)}px`;
    target.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  function draw() {
    layOut();
    pen.clearRect(0, 0, view.width, view.height);
    pen.font = layout.isNarrow ? "10px system-ui, sans-serif" : "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.textAlign = "left";
    drawCuts();
    drawTicks();
    drawLanes();
    drawEvents();
    drawFailingStep();
    drawOverview();
    showHeads();
  }

  function line(x0, y0, x1, y1, colour, width = 1, dash = []) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.setLineDash(dash);
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
    if (dash.length > 0) pen.setLineDash([]);
  }

  /** Text cut to a width; nothing if not even a few letters fit. */
  function label(text, x, y, widthMax, colour) {
    pen.fillStyle = colour;
    const letters = Math.floor(widthMax / (layout.isNarrow ? 5.2 : 5.7));
    if (letters < 3) return;
    pen.fillText(text.length <= letters ? text : `${text.slice(0, letters - 1)}…`, x, y);
  }

  /** Stretches in which links are cut: a band behind all lanes. */
  function drawCuts() {
    const from = firstAt(cutUnits.length, (at) => cutUnits[at].unit, unitAtY(0)) - 1;
    for (let at = Math.max(0, from); at < cutUnits.length; at += 1) {
      const { unit, links } = cutUnits[at];
      const top = yOf(unit);
      if (top > view.height) break;
      if (links === "") continue;
      const bottom = Math.min(view.height, yOf(cutUnits[at + 1]?.unit ?? extent + 1));
      pen.fillStyle = colours.bad;
      pen.globalAlpha = 0.1;
      pen.fillRect(layout.gutter, top, layout.right - layout.gutter, bottom - top);
      pen.globalAlpha = 1;
      pen.fillRect(layout.gutter - 3, top, 3, bottom - top);
    }
  }

  function drawTicks() {
    const apart = 64;
    if (view.axis === "events") {
      const stride = Math.max(1, Math.ceil(apart / view.scale));
      const first = Math.max(0, Math.floor(unitAtY(0) / stride) * stride);
      for (let at = first; at < rows.length && yOf(at) < view.height; at += stride) {
        tick(yOf(at), events.step[rows[at]], events.at[rows[at]]);
      }
      return;
    }
    const rough = apart / view.scale;
    const power = 10 ** Math.floor(Math.log10(rough));
    const stride = Math.max(
      view.axis === "steps" ? 1 : 0.001,
      power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10),
    );
    // Round numbers of the run, not of its first event here.
    const origin = view.axis === "steps" ? originStep : originTime / 1000;
    const last = Math.min(extent, unitAtY(view.height)) + origin;
    const first = Math.ceil((Math.max(0, unitAtY(0)) + origin) / stride) * stride;
    for (let value = first; value <= last; value += stride) {
      if (view.axis === "steps") tick(yOf(value - origin), value, undefined);
      else tick(yOf(value - origin), undefined, value * 1000);
    }
  }

  function tick(y, step, time) {
    line(layout.gutter, y, layout.right, y, colours.line);
    const texts = [];
    if (step !== undefined) texts.push(`#${String(Math.round(step))}`);
    if (time !== undefined) texts.push(`${(time / 1e6).toFixed(layout.isNarrow ? 2 : 4)} s`);
    texts.forEach((text, at) => {
      pen.fillStyle = colours.faint;
      pen.fillText(text, 4, y + at * 12);
    });
  }

  function drawLanes() {
    const top = unitAtY(-10);
    const bottom = Math.min(extent, unitAtY(view.height + 10));
    const spans = statesOfNode.map(({ unit }) => {
      const first = firstAt(unit.length, (at) => unit[at], top);
      return { first: Math.max(0, first - 1), end: firstAt(unit.length, (at) => unit[at], bottom) };
    });
    const range = plotRange(spans);
    for (let node = 0; node < nodeCount; node += 1) {
      const end = Math.max(spans[node].end, 1);
      drawBars(node, spans[node].first, end);
      drawPlot(node, spans[node].first, end, range);
    }
    if (names.length > nodeCount) {
      line(layout.clientsAt + 2, 0, layout.clientsAt + 2, view.height, colours.line);
    }
  }

  /** Least and greatest index in view, over all nodes: one scale shows who lags. */
  function plotRange(spans) {
    let least = Infinity;
    let most = 0;
    spans.forEach(({ first, end }, node) => {
      for (let at = first; at < end; at += 1) {
        const state = statesOfNode[node].at[at];
        if (state === undefined || states.last[state] === 0) continue;
        least = Math.min(least, states.commit[state]);
        most = Math.max(most, states.last[state]);
      }
    });
    return {
      least: Math.min(least, most),
      most: Math.max(most, least === Infinity ? 1 : least + 1),
    };
  }

  const looksOf = {
    leader: { width: 13, opacity: 1, text: "leader" },
    candidate: { width: 11, opacity: 0.75, stripes: true, text: "candidate" },
    preCandidate: { width: 9, opacity: 0.55, stripes: true, text: "pre-candidate" },
    follower: { width: 6, opacity: 0.5, text: "follower" },
    paused: { width: 10, opacity: 0, stripes: true, text: "paused" },
    starting: { width: 3, opacity: 0, text: "starting" },
    down: { width: 0, opacity: 0, text: "down" },
  };

  /** The bar of a node: its width is the role, its colour the term. */
  function drawBars(node, first, end) {
    const { at: indexes, unit } = statesOfNode[node];
    const x = layout.xOf(node);
    let labelledY = -Infinity;
    for (let at = first; at < end;) {
      const state = indexes[at];
      if (state === undefined) return;
      let next = at + 1;
      while (next < end && isSameRole(state, indexes[next])) next += 1;
      const from = Math.max(-20, yOf(unit[at]));
      const to = Math.min(
        view.height + 20,
        yOf(next < unit.length ? Math.min(unit[next], extent) : extent),
      );
      drawBar(x, from, Math.max(to, from + 1), roles[states.role[state]], states.term[state]);
      const y = Math.max(from + 12, 8);
      if (y - labelledY > 13 && to - from > 12) {
        labelledY = y;
        labelBar(node, state, x, y);
      }
      at = next;
    }
  }

  /** The longest text that fits beside a bar. */
  function labelBar(node, state, x, y) {
    const look = looksOf[roles[states.role[state]]] ?? looksOf.follower;
    const term = look.opacity > 0 ? String(states.term[state]) : "";
    const room = layout.gutter + (node + 1) * layout.lane - x - 10;
    const texts = [`${look.text} ${term}`, `${look.text.slice(0, 4)} ${term}`, term];
    const text = texts.find((candidate) => pen.measureText(candidate).width <= room);
    pen.fillStyle = colours.faint;
    pen.fillText(text ?? "", x + 10, y);
  }

  function isSameRole(one, other) {
    return states.role[one] === states.role[other] && states.term[one] === states.term[other];
  }

  function drawBar(x, from, to, role, term) {
    const look = looksOf[role] ?? looksOf.follower;
    const half = look.width / 2;
    if (role === "down") {
      line(x, from, x, to, colours.bad, 1.5, [2, 5]);
      return;
    }
    pen.fillStyle = look.opacity === 0 ? colours.line : termColour(term, look.opacity);
    pen.fillRect(x - half, from, look.width, to - from);
    if (role === "leader") {
      pen.strokeStyle = colours.text;
      pen.lineWidth = 1;
      pen.strokeRect(x - half + 0.5, from, look.width - 1, to - from);
    }
    if (look.stripes !== true || to - from < 4) return;
    for (let y = from - (from % 6); y < to; y += 6) {
      if (y > from) line(x - half, y, x + half, Math.max(from, y - 5), colours.text, 0.7);
    }
  }

  /** How the log grows: the area is committed, the line is held. */
  function drawPlot(node, first, end, { least, most }) {
    const { at: indexes, unit } = statesOfNode[node];
    const left = layout.gutter + node * layout.lane + 2;
    const xOf = (index) => left + (layout.plot * Math.max(0, index - least)) / (most - least || 1);
    line(left, 0, left, view.height, colours.line);
    let lastX = left;
    let lastY = -Infinity;
    for (let at = first; at < end; at += 1) {
      const state = indexes[at];
      if (state === undefined) return;
      const from = Math.max(-5, yOf(unit[at]));
      const to = Math.min(
        view.height + 5,
        yOf(at + 1 < unit.length ? Math.min(unit[at + 1], extent) : extent),
      );
      if (to < from) continue;
      const x = xOf(states.last[state]);
      const commitX = xOf(states.commit[state]);
      pen.fillStyle = colours.accent;
      pen.globalAlpha = 0.3;
      pen.fillRect(left, from, commitX - left, Math.max(0.5, to - from));
      pen.globalAlpha = 1;
      if (to - lastY > 0.4 || x !== lastX) line(x, from, x, to, colours.accent);
      if (lastX !== x && lastY > -Infinity) line(lastX, from, x, from, colours.accent);
      lastX = x;
      lastY = to;
    }
  }

  const arrowsMax = 4000;

  function drawEvents() {
    view.drawn = [];
    const top = unitAtY(-12);
    const bottom = unitAtY(view.height + 12);
    const first = firstAt(rows.length, (at) => rowEnd[at], top);
    const found = [];
    for (let at = first; at < rows.length && beginAfter[at] <= bottom; at += 1) {
      if (rowBegin[at] <= bottom) found.push(at);
    }
    // Too many arrows are a grey area: of messages every n-th one is drawn, of the rest all.
    const stride = Math.max(1, Math.ceil(found.length / arrowsMax));
    const marks = [];
    pen.globalAlpha = Math.max(0.05, Math.min(1, (200 * stride) / (found.length + 1)));
    found.forEach((at, place) => {
      const group = groupOf(rows[at]);
      const isChosen = rows[at] === view.chosen;
      if (group.mark !== "arrow" && group.mark !== "bar") marks.push(at);
      else if (place % stride === 0 || isChosen) drawMessage(at, group);
    });
    pen.globalAlpha = 1;
    const labelled = new Map();
    for (const at of marks) drawMark(at, labelled);
    if (layout.hasText) for (const at of found) drawText(at);
    for (const row of [view.hovered, view.chosen]) if (row >= 0) drawChosen(row);
  }

  function drawMessage(at, group) {
    const row = rows[at];
    const y0 = yOf(rowBegin[at]);
    const y1 = yOf(rowEnd[at]);
    if (group.mark === "bar") {
      const x = layout.xOf(events.node[row]);
      const kind = kindOf(row);
      const isGood = kind === "client-ok" || kind === "client-read";
      const paint = isGood ? colours.good : kind === "client-unknown" ? colours.bad : group.paint;
      line(x, y0, x, Math.max(y1, y0 + 2), paint, kind === "client-read" ? 1.5 : 4);
      view.drawn.push({ row, x0: x, y0, x1: x, y1 });
      return;
    }
    const x0 = layout.xOf(events.from[row]);
    const x1 = layout.xOf(events.node[row]);
    if (kindOf(row) === "lost") drawLost(row, x0, y0, x1, y1, group.paint);
    else {
      arrow(x0, y0, x1, y1, group.paint, group.name === "heartbeats" ? 1 : 1.4);
      view.drawn.push({ row, x0, y0, x1, y1 });
    }
  }

  function arrow(x0, y0, x1, y1, colour, width) {
    line(x0, y0, x1, y1, colour, width);
    if (view.axis === "events" && view.scale < 3) return;
    const length = Math.hypot(x1 - x0, y1 - y0) || 1;
    const [dx, dy] = [((x1 - x0) / length) * 7, ((y1 - y0) / length) * 7];
    pen.fillStyle = colour;
    pen.beginPath();
    pen.moveTo(x1, y1);
    pen.lineTo(x1 - dx - dy * 0.45, y1 - dy + dx * 0.45);
    pen.lineTo(x1 - dx + dy * 0.45, y1 - dy - dx * 0.45);
    pen.fill();
  }

  /** A message that was lost goes half the way and ends in a cross. */
  function drawLost(row, x0, y0, x1, y1, colour) {
    const x = (x0 + x1) / 2;
    line(x0, y0, x, y1, colour, 1.2, [4, 3]);
    line(x - 3, y1 - 3, x + 3, y1 + 3, colour, 1.5);
    line(x - 3, y1 + 3, x + 3, y1 - 3, colour, 1.5);
    view.drawn.push({ row, x0, y0, x1: x, y1 });
  }

  function drawMark(at, labelled) {
    const row = rows[at];
    const group = groupOf(row);
    const place = events.node[row];
    const x = layout.xOf(place);
    const y = yOf(rowEnd[at]);
    const kind = kindOf(row);
    view.drawn.push({ row, x0: x, y0: y, x1: x, y1: y });
    if (place < 0) line(layout.gutter, y, layout.right, y, group.paint, 1, [6, 3]);
    markShape(group.mark, x, y, group.paint);
    if (group.mark === "dot" && kind !== "leads" && kind !== "start" && kind !== "ended") return;
    const text = shortText(row, kind);
    if (y - (labelled.get(place) ?? -Infinity) < 12) return;
    labelled.set(place, y);
    const right = place < 0 ? layout.right : layout.gutter + (place + 1) * layout.lane;
    const room = Math.max(layout.isNarrow ? 34 : 60, right - x - 8);
    tag(text, x + (group.mark === "ring" ? 14 : 8), y, room, group.paint);
  }

  function shortText(row, kind) {
    const text = events.text[row];
    if (kind === "fault") {
      const fault = text.split(":")[0];
      return fault === "partition" ? `partition ${text.slice(11)}` : fault;
    }
    if (kind === "leads") return text.replace("term", "leads");
    if (kind === "violation") return text.split(":")[0];
    return kind;
  }

  /** Text on a ground of its own, so that arrows behind it do not cross it out. */
  function tag(text, x, y, widthMax, colour) {
    const letters = Math.max(3, Math.floor(widthMax / 5.7));
    const cut = text.length <= letters ? text : `${text.slice(0, letters - 1)}…`;
    pen.fillStyle = colours.ground;
    pen.fillRect(x - 1, y - 6, pen.measureText(cut).width + 3, 12);
    pen.fillStyle = colour;
    pen.fillText(cut, x, y);
  }

  function markShape(mark, x, y, colour) {
    pen.fillStyle = colour;
    pen.beginPath();
    if (mark === "diamond") {
      pen.moveTo(x, y - 6);
      pen.lineTo(x + 6, y);
      pen.lineTo(x, y + 6);
      pen.lineTo(x - 6, y);
      pen.fill();
    } else if (mark === "ring") {
      pen.strokeStyle = colour;
      pen.lineWidth = 3;
      pen.arc(x, y, 9, 0, 7);
      pen.stroke();
    } else {
      pen.arc(x, y, 3.2, 0, 7);
      pen.fill();
    }
  }

  function drawText(at) {
    const row = rows[at];
    const y = yOf(rowEnd[at]);
    const from = names[events.from[row]];
    const where = `${from === undefined ? "" : `${from}→`}${names[events.node[row]] ?? ""}`;
    const what = `${where} ${kindOf(row)}  ${events.text[row]}`.trimStart();
    const paint = groupOf(row).paint;
    pen.fillStyle = paint;
    pen.fillRect(layout.textAt - 6, y - 5, 3, 10);
    label(what, layout.textAt, y, view.width - layout.textAt - 4, colours.text);
  }

  function drawChosen(row) {
    const shape = view.drawn.find((drawn) => drawn.row === row);
    if (shape === undefined) return;
    const { x0, y0, x1, y1 } = shape;
    line(x0, y0, x1, y1, groupOf(row).paint, 4);
    pen.strokeStyle = colours.text;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(x1, y1, 8, 0, 7);
    pen.stroke();
    if (layout.hasText) {
      pen.strokeRect(layout.textAt - 9, y1 - 8, view.width - layout.textAt + 4, 16);
    }
  }

  function drawFailingStep() {
    if (failingStep === null) return;
    const y = yOf(view.axis === "events" ? rows.length - 1 : failingUnit());
    if (y < -20 || y > view.height + 20) return;
    line(0, y, layout.right, y, colours.bad, 2);
    const text = `step ${String(failingStep)}: ${data.failure.split(":")[0]} broken`;
    pen.fillStyle = colours.bad;
    pen.fillText(text, 4, y + 12);
  }

  function failingUnit() {
    return unitOf(failingStep, events.at[eventCount - 1] ?? 0);
  }

  // The whole run at the edge: who led, where faults are, what is in view.

  const painted = document.createElement("canvas");
  let paintedKey = "";

  function drawOverview() {
    const edge = overview.getContext("2d");
    const { height } = view;
    const key = [view.axis, rows.length, height, colours.ground].join(" ");
    if (paintedKey !== key) {
      paintedKey = key;
      sizeCanvas(painted, 26, height);
      paintOverview(painted.getContext("2d"), height);
    }
    edge.clearRect(0, 0, 26, height);
    edge.drawImage(painted, 0, 0, 26, height);
    const from = (Math.max(0, unitAtY(0)) / extent) * height;
    const to = (Math.min(extent, unitAtY(height)) / extent) * height;
    edge.strokeStyle = colours.text;
    edge.lineWidth = 2;
    edge.strokeRect(1, from, 24, Math.max(4, to - from));
  }

  function paintOverview(edge, height) {
    const y = (unit) => (unit / extent) * height;
    for (const { at, unit } of statesOfNode) {
      at.forEach((state, place) => {
        if (roles[states.role[state]] !== "leader") return;
        edge.fillStyle = termColour(states.term[state], 1);
        const end = Math.min(extent, unit[place + 1] ?? extent);
        edge.fillRect(4, y(unit[place]), 9, Math.max(0.5, y(end) - y(unit[place])));
      });
    }
    rows.forEach((row, at) => {
      const { name } = groupOf(row);
      if (name !== "faults" && name !== "violation") return;
      edge.fillStyle = colours.bad;
      edge.fillRect(15, y(rowEnd[at]), name === "faults" ? 8 : 11, name === "faults" ? 1 : 3);
    });
  }

  // Heads: each node's state in the middle of the view, or at the chosen event.

  const heads = [];

  function showHeads() {
    const chosenAt = view.chosen < 0 ? -1 : firstAt(rows.length, (at) => rows[at], view.chosen);
    const isChosenShown = chosenAt >= 0 && rows[chosenAt] === view.chosen;
    const unit = isChosenShown ? rowEnd[chosenAt] : middleUnit();
    while (heads.length <= nodeCount) {
      const head = document.createElement("div");
      head.append(document.createElement("b"), document.createTextNode(""));
      element("heads").append(head);
      heads.push(head);
    }
    for (let node = 0; node < nodeCount; node += 1) {
      setHead(node, layout.gutter + node * layout.lane, layout.lane, headText(node, unit));
    }
    const hasClients = names.length > nodeCount;
    const text = hasClients && !layout.isNarrow ? names.slice(nodeCount).join(" ") : "";
    const title = hasClients ? (layout.isNarrow ? "clnt" : "clients") : "";
    setHead(nodeCount, layout.clientsAt, Math.max(30, layout.clientWidth), text, title);
  }

  function setHead(at, left, width, text, title = names[at]) {
    const head = heads[at];
    head.style.left = `${String(Math.round(left))}px`;
    head.style.width = `${String(Math.floor(width))}px`;
    if (head.firstChild.textContent !== title) head.firstChild.textContent = title;
    const whole = text === "" ? "" : `\n${text}`;
    if (head.lastChild.textContent !== whole) head.lastChild.textContent = whole;
  }

  function stateAt(node, unit) {
    const { at, unit: units } = statesOfNode[node];
    return at[firstAt(units.length, (place) => units[place], unit + 1e-6) - 1] ?? -1;
  }

  function headText(node, unit) {
    const state = stateAt(node, unit);
    if (state < 0) return "down";
    const role = roles[states.role[state]];
    const text = looksOf[role]?.text ?? role;
    const { [state]: term } = states.term;
    const numbers = [states.commit[state], states.last[state], states.end[state]];
    const [commit, last, end] = numbers.map(String);
    if (layout.lane < 90) {
      const short = text.slice(0, layout.lane < 56 ? 4 : 8);
      return `${short} ${String(term)}\nc${commit}/${last}\ne${end}`;
    }
    return `${text}, term ${String(term)}\ncommit ${commit}/${last}\nend ${end}`;
  }

  // Choosing.

  function choose(row, isCentred) {
    view.chosen = row;
    if (row >= 0 && isCentred) {
      const at = firstAt(rows.length, (place) => rows[place], row);
      const unit = rows[at] === row ? rowEnd[at] : unitOf(events.step[row], events.at[row]);
      scroller.scrollTop = unit * view.scale;
    }
    showChosen(row);
    showTable();
    request();
  }

  function paragraph(text) {
    const made = document.createElement("p");
    made.textContent = text;
    return made;
  }

  function showChosen(row) {
    const box = element("chosen");
    if (row < 0) {
      const hint = "Point at, or choose, an arrow or a mark. Red bands: links are cut.";
      box.replaceChildren(paragraph(hint));
      return;
    }
    const node = names[events.node[row]] ?? "everywhere";
    const from = names[events.from[row]];
    const where = from === undefined ? node : `${from} to ${node}`;
    const seconds = (events.at[row] / 1e6).toFixed(4);
    const since = events.timeSince[row];
    const took =
      since === 0
        ? ""
        : `, ${(since / 1000).toFixed(2)} ms and ${String(events.stepsSince[row])} steps after its start`;
    const step = String(events.step[row]);
    const lines = [
      paragraph(`${where}: ${kindOf(row)}, step ${step}, ${seconds} s${took}`),
      paragraph(events.text[row]),
    ];
    const cut = cutsAt(events.step[row]);
    if (cut !== "") lines.push(paragraph(`Cut links: ${cut.replaceAll(">", "→")}`));
    lines[0].style.fontWeight = "bold";
    box.replaceChildren(...lines);
  }

  function cutsAt(step) {
    const at = firstAt(data.cuts.length, (place) => data.cuts[place][0], step + 1) - 1;
    return data.cuts[at]?.[2] ?? "";
  }

  /** The event under a point: the nearest mark, or arrow if there is none near. */
  function eventAt(x, y) {
    if (layout.hasText && x > layout.textAt - 8) {
      const at = Math.round(unitAtY(y));
      return rows[at] ?? -1;
    }
    let best = -1;
    let least = 9;
    for (const { row, x0, y0, x1, y1 } of view.drawn) {
      const isMark = x0 === x1 && y0 === y1;
      const away = distance(x, y, x0, y0, x1, y1) - (isMark ? 4 : 0);
      if (away < least) {
        least = away;
        best = row;
      }
    }
    return best;
  }

  function distance(x, y, x0, y0, x1, y1) {
    const [dx, dy] = [x1 - x0, y1 - y0];
    const square = dx * dx + dy * dy;
    const along = square === 0 ? 0 : ((x - x0) * dx + (y - y0) * dy) / square;
    const share = Math.min(1, Math.max(0, along));
    return Math.hypot(x - x0 - share * dx, y - y0 - share * dy);
  }

  /** The row from which to look for the next or the one before. */
  function currentRow() {
    if (view.chosen >= 0) return view.chosen;
    const at = firstAt(rows.length, (place) => rowEnd[place], middleUnit());
    return rows[Math.min(at, rows.length - 1)] ?? 0;
  }

  function goTo(direction, isSought) {
    const start = currentRow();
    const isOnIt = view.chosen < 0 && direction > 0 && isSought(start);
    for (
      let row = isOnIt ? start : start + direction;
      row >= 0 && row < eventCount;
      row += direction
    ) {
      if (isSought(row)) {
        choose(row, true);
        return;
      }
    }
    element("chosen").replaceChildren(paragraph("There is none in this direction."));
  }

  const isFault = (row) => groupOf(row).name === "faults";
  const isLeaderChange = (row) => kindOf(row) === "leads";

  function goToShown(direction) {
    const at = firstAt(rows.length, (place) => rows[place], currentRow());
    const next =
      view.chosen < 0 ? at : at + (rows[at] === view.chosen || direction < 0 ? direction : 0);
    const row = rows[Math.min(rows.length - 1, Math.max(0, next))];
    if (row !== undefined) choose(row, true);
  }

  function goToStep(step) {
    const row = firstAt(eventCount, (at) => events.step[at], step);
    choose(Math.min(row, eventCount - 1), true);
  }

  function goToFailure() {
    if (failingStep === null) return;
    let row = eventCount - 1;
    while (row > 0 && groupOf(row).name !== "violation") row -= 1;
    choose(groupOf(row).name === "violation" ? row : eventCount - 1, true);
  }

  // The table: a page of rows around the chosen event.

  const tableRows = 100;
  let tableFrom = 0;
  let tableKey = "";

  function showTable(isPaged = false) {
    if (!isPaged) {
      const at = firstAt(rows.length, (place) => rows[place], currentRow());
      tableFrom = Math.floor(at / tableRows) * tableRows;
    }
    tableFrom = Math.max(0, Math.min(tableFrom, rows.length - 1));
    const key = [tableFrom, rows.length, view.chosen].join(" ");
    if (key === tableKey) return;
    tableKey = key;
    const shown = rows.slice(tableFrom, tableFrom + tableRows);
    element("rows").replaceChildren(...shown.map(tableRow));
    element("rows-before").disabled = tableFrom === 0;
    element("rows-after").disabled = tableFrom + tableRows >= rows.length;
    const to = Math.min(rows.length, tableFrom + tableRows);
    element("rows-shown").textContent =
      `${String(Math.min(tableFrom + 1, to))} to ${String(to)} of ${String(rows.length)}`;
  }

  function tableRow(row) {
    const made = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = String(events.step[row]);
    button.dataset.row = String(row);
    button.setAttribute("aria-label", `Show step ${String(events.step[row])} in the diagram`);
    head.append(button);
    const cells = [
      (events.at[row] / 1e6).toFixed(4),
      names[events.node[row]] ?? "",
      names[events.from[row]] ?? "",
      kindOf(row),
      events.text[row],
    ].map((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    });
    made.append(head, ...cells);
    if (events.step[row] === failingStep) made.className = "failing";
    if (row === view.chosen) made.setAttribute("aria-current", "true");
    return made;
  }

  // Controls.

  function listKinds() {
    const counts = new Map();
    for (let row = 0; row < eventCount; row += 1) {
      counts.set(groupOf(row), (counts.get(groupOf(row)) ?? 0) + 1);
    }
    for (const group of groups) {
      if (!counts.has(group)) continue;
      const made = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = true;
      box.addEventListener("change", () => {
        replace(() => {
          if (box.checked) shownGroups.add(group);
          else shownGroups.delete(group);
        }, false);
      });
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = `var(--${group.colour ?? group.name})`;
      made.append(box, swatch, `${group.label ?? group.name} (${String(counts.get(group))})`);
      element("kind-list").append(made);
    }
    const legend =
      "Bars: wide and framed leads, striped campaigns, thin follows; the colour is the term; " +
      "dotted red is down, striped grey is paused. Blue: the log, committed (area) and held (line).";
    element("kinds").append(paragraph(legend));
  }

  function zoom(factor) {
    applyScale(view.scale * factor, middleUnit());
  }

  const keys = {
    ArrowUp: () => goToShown(-1),
    ArrowDown: () => goToShown(1),
    "+": () => zoom(1.5),
    "=": () => zoom(1.5),
    "-": () => zoom(1 / 1.5),
    f: () => goTo(1, isFault),
    F: () => goTo(-1, isFault),
    l: () => goTo(1, isLeaderChange),
    L: () => goTo(-1, isLeaderChange),
    x: goToFailure,
    Home: () => choose(rows[0] ?? -1, true),
    End: () => choose(rows[rows.length - 1] ?? -1, true),
    Escape: () => choose(-1, false),
  };

  function listen() {
    const clicks = {
      failing: goToFailure,
      "fault-before": keys.F,
      "fault-after": keys.f,
      "leader-before": keys.L,
      "leader-after": keys.l,
      "zoom-in": keys["+"],
      "zoom-out": keys["-"],
    };
    for (const [id, act] of Object.entries(clicks)) element(id).addEventListener("click", act);
    element("failing").hidden = failingStep === null;
    element("jump").addEventListener("submit", (event) => {
      event.preventDefault();
      const step = Number(element("step").value);
      if (Number.isFinite(step)) goToStep(step);
    });
    element("axis").addEventListener("change", (event) => {
      replace(() => {
        view.axis = event.target.value;
      }, true);
    });
    for (const [id, by] of [
      ["rows-before", -tableRows],
      ["rows-after", tableRows],
    ]) {
      element(id).addEventListener("click", () => {
        tableFrom += by;
        showTable(true);
      });
    }
    element("rows").addEventListener("click", (event) => {
      const { row } = event.target.dataset;
      if (row === undefined) return;
      choose(Number(row), true);
      element("viewer").scrollIntoView();
      scroller.focus();
    });
    listenToDiagram();
  }

  function listenToDiagram() {
    scroller.addEventListener("scroll", request, { passive: true });
    scroller.addEventListener("keydown", (event) => {
      const act = keys[event.key];
      if (act === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
    scroller.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey) return;
        event.preventDefault();
        zoom(event.deltaY < 0 ? 1.25 : 0.8);
      },
      { passive: false },
    );
    canvas.addEventListener("pointermove", (event) => {
      const row = eventAt(event.offsetX, event.offsetY);
      if (row === view.hovered) return;
      view.hovered = row;
      canvas.style.cursor = row < 0 ? "default" : "pointer";
      showChosen(row < 0 ? view.chosen : row);
      request();
    });
    canvas.addEventListener("pointerleave", () => {
      view.hovered = -1;
      showChosen(view.chosen);
      request();
    });
    canvas.addEventListener("click", (event) => {
      choose(eventAt(event.offsetX, event.offsetY), false);
    });
    overview.addEventListener("click", (event) => {
      scroller.scrollTop = (event.offsetY / view.height) * extent * view.scale;
    });
    new ResizeObserver(resize).observe(scroller);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      readColours();
      request();
    });
  }

  /** A script that fails says so on the page: a diagram that is half there misleads. */
  window.addEventListener("error", (event) => {
    element("trouble").hidden = false;
    element("trouble").textContent = `The diagram failed: ${event.message}`;
  });

  function open() {
    element("viewer").hidden = false;
    element("table-tools").hidden = false;
    element("table-note").hidden = true;
    readColours();
    listKinds();
    listen();
    place();
    resize();
    showChosen(-1);
    const asked = /^#step=(\d+)$/.exec(location.hash);
    if (asked !== null) goToStep(Number(asked[1]));
    else if (failingStep !== null) goToFailure();
    else scroller.scrollTop = Math.max(0, view.height / 2 - 30);
    showTable();
    draw();
    document.documentElement.dataset.drawn = String(view.drawn.length);
  }

  if (eventCount > 0) open();
})();
