/**
 * Finds text on a page that is hard to read: below the contrast of WCAG's level AA.
 *
 * It looks at what is computed for each element that has text of its own and is shown, against the
 * nearest ground below it; pictures are none of its business.
 */

/** An expression for a page: each piece of text whose contrast is below 4.5 to 1. */
export const contrastFaults = `(() => {
  const channels = (colour) => {
    const [red = 0, green = 0, blue = 0, alpha = 1] = (colour.match(/[\\d.]+/g) ?? []).map(Number);
    return { red, green, blue, alpha };
  };
  const linear = (value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  };
  const luminance = ({ red, green, blue }) =>
    0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const groundOf = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const ground = channels(getComputedStyle(at).backgroundColor);
      if (ground.alpha === 1) return ground;
    }
    return { red: 255, green: 255, blue: 255 };
  };
  const hasText = (element) =>
    [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "");
  return [...document.body.querySelectorAll("*")].flatMap((element) => {
    if (!hasText(element) || element.closest(".hidden, .skip, noscript, svg")) return [];
    if (element.getClientRects().length === 0) return [];
    const text = luminance(channels(getComputedStyle(element).color));
    const ground = luminance(groundOf(element));
    const contrast = (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
    const what = element.textContent.trim().slice(0, 40);
    return contrast >= 4.5 ? [] : [element.tagName + " " + what + " " + contrast.toFixed(2)];
  });
})()`;
