// How a slice is drawn: the scan, over it the filled scan and the deviation, and over all the hole with its rim.
// NiiVue's own shader draws the hole below what lies over the scan, where a filled scan would hide it.
// NiiVue finds the names of uniforms by their declarations, so each has one of its own.

export const SLICE_SHADER = `#version 300 es
precision highp int;
precision highp float;
uniform highp sampler3D volume;
uniform highp sampler3D overlay;
uniform highp sampler3D drawing;
uniform float overlays;
uniform float overlayAlphaShader;
uniform float opacity;
uniform float drawOpacity;
uniform float drawRimOpacity;
in vec3 texPos;
out vec4 color;
const vec3 HOLE = vec3(1.0, 0.55, 0.0);
const float RIM_PIXELS = 1.5;

bool isHole(vec3 place) { return texture(drawing, place).r > 0.0; }

void main() {
  color = vec4(texture(volume, texPos).rgb, opacity);
  if (overlays > 0.0) {
    vec4 over = texture(overlay, texPos);
    color.rgb = mix(color.rgb, over.rgb, over.a * overlayAlphaShader);
  }
  vec3 right = dFdx(texPos) * RIM_PIXELS;
  vec3 up = dFdy(texPos) * RIM_PIXELS;
  if (!isHole(texPos)) return;
  bool isRim = !(isHole(texPos - right) && isHole(texPos + right) && isHole(texPos - up) && isHole(texPos + up));
  color.rgb = mix(color.rgb, HOLE, isRim ? max(drawRimOpacity, drawOpacity) : drawOpacity);
}`;
