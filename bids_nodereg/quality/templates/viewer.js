"use strict";
(async () => {
  const find = (id) => document.getElementById(id);
  const volumes = JSON.parse(find("data").textContent);
  const colours = { fixed: "gray", registered: "gray", jacobian: "expansion" };
  // Clear at no change, as in the report: from there to red, and to blue for what contracts.
  const ramp = (R, G, B) => ({ R, G, B, A: [0, 200, 255], I: [0, 96, 255] });
  const changes = {
    expansion: ramp([247, 244, 178], [247, 165, 24], [247, 130, 43]),
    contraction: ramp([247, 146, 33], [247, 197, 102], [247, 222, 172]),
  };
  const opacity = { fixed: 1, registered: 0.5, jacobian: 0 };

  const viewer = new niivue.Niivue({
    backColor: [0, 0, 0, 1], crosshairColor: [0.37, 0.92, 0.83, 0.7], crosshairWidth: 0.6, crosshairWidthUnit: "mm", crosshairGap: 6, multiplanarPadPixels: 14, fontColor: [1, 1, 1, 1],
    isRadiologicalConvention: false, sagittalNoseLeft: false, multiplanarShowRender: niivue.SHOW_RENDER.NEVER,
    isOrientationTextVisible: true, showAllOrientationMarkers: true, isSliceMM: true, logLevel: "error", dragAndDropEnabled: false,
    onLocationChange: (place) => { find("place").textContent = place.string; },
  });
  try {
    await viewer.attachTo("canvas");
    if (!viewer.gl) throw new Error("no WebGL2");
    for (const [name, table] of Object.entries(changes)) viewer.addColormap(name, table);
    for (const { role, name, low, high, content } of volumes) {
      const volume = await niivue.NVImage.loadFromBase64({
        base64: content, name: `${role}.nii.gz`, colormap: colours[role], opacity: opacity[role], 
        cal_min: role === "jacobian" ? 0 : low, cal_max: high,
      });
      if (role === "jacobian") volume.colormapNegative = "contraction";
      volume.name = `${name} (${role})`;
      viewer.addVolume(volume);
    }
  } catch (error) {
    find("trouble").textContent = `The viewer needs a browser with WebGL2 (${error.message}). The report shows the same as pictures.`;
    return;
  }
  viewer.setSliceType(viewer.sliceTypeMultiplanar);

  const on = (id, act) => {
    const control = find(id);
    if (control) control.addEventListener("input", () => act(control.value));
  };
  on("mix", (value) => viewer.setOpacity(1, Number(value)));
  on("jacobian", (value) => viewer.setOpacity(2, Number(value)));
  on("colour", (value) => viewer.setColormap(viewer.volumes[1].id, value));
  on("view", (value) => viewer.setSliceType(Number(value)));
  const flip = () => {
    const mix = find("mix");
    mix.value = Number(mix.value) < 0.5 ? 1 : 0;
    mix.dispatchEvent(new Event("input"));
  };
  find("flip").addEventListener("click", flip);
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "f" && !event.ctrlKey && !event.metaKey && !event.altKey) flip();
  });
  document.body.dataset.ready = "yes";
})();
