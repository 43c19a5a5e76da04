// How the picture looks: NiiVue's options, colours, and where the planes are.

export const TYPES = { planes: 3, axial: 0, coronal: 1, sagittal: 2, solid: 4 };
export const HOLE_COLOUR = { R: [0, 255], G: [0, 140], B: [0, 0], A: [0, 255], I: [0, 1] };
/** For the filled scan: also its darkest voxels cover the scan. */
export const OPAQUE_GRAY = { R: [0, 255], G: [0, 255], B: [0, 255], A: [255, 255], I: [0, 255] };
export const OPTIONS = {
  interactive: false,
  dragAndDropEnabled: false,
  logLevel: "error",
  loadingText: "",
  multiplanarShowRender: window.niivue.SHOW_RENDER.NEVER,
  isRadiologicalConvention: true, // as the report and most stations show slices; a switch of the view bar
  crosshairColor: [0.45, 0.75, 1, 0.8],
  crosshairWidth: 0.25,
  crosshairWidthUnit: "percent",
  crosshairGap: 3,
  fontColor: [0.8, 0.85, 0.9, 1],
  fontMinPx: 14,
  backColor: [0, 0, 0, 1],
  tileMargin: 4,
};

/** Where the planes are, as parts of the picture: [left, top, width, height]. */
export function layout(main, isWide) {
  const others = [0, 1, 2].filter((plane) => plane !== main);
  const places = isWide
    ? [
        [0, 0, 0.64, 1],
        [0.645, 0, 0.355, 0.497],
        [0.645, 0.503, 0.355, 0.497],
      ]
    : [
        [0, 0, 1, 0.64],
        [0, 0.645, 0.497, 0.355],
        [0.503, 0.645, 0.497, 0.355],
      ];
  return [main, ...others].map((sliceType, i) => ({ sliceType, position: places[i] }));
}

const DARK = [0, 0, 0, 1];
const RIM = 1; // pixels of the screen

/** Gives the letters of the sides, such as R and A, a dark rim: a bright scan would hide them. */
export function rimLetters(nv) {
  const draw = nv.drawSliceOrientationText.bind(nv);
  nv.drawSliceOrientationText = ([left, top, width, height], ...rest) => {
    const rim = RIM * (window.devicePixelRatio || 1);
    const light = nv.opts.fontColor;
    nv.opts.fontColor = DARK;
    for (const x of [-rim, rim]) for (const y of [-rim, rim]) draw([left + x, top + y, width, height], ...rest);
    nv.opts.fontColor = light;
    draw([left, top, width, height], ...rest);
  };
}
