/** The page's icons, drawn on a grid of 24; always beside a text or inside a labelled button. */
export const paths = {
  send: "M3 20.5v-6l9-2.5-9-2.5v-6L21.5 12z",
  back: "M15.4 5.4 14 4l-8 8 8 8 1.4-1.4L8.8 12z",
  down: "M5.4 8.6 4 10l8 8 8-8-1.4-1.4L12 15.2z",
  copy: "M8 2h10a2 2 0 0 1 2 2v12h-2V4H8zM6 6h8a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2V8a2 2 0 0 1 2-2zm0 2v12h8V8z",
  sound: "M4 9v6h4l5 5V4L8 9zm11-1v8a4.5 4.5 0 0 0 0-8zm0-4.5v2a6.8 6.8 0 0 1 0 13v2a8.8 8.8 0 0 0 0-17z",
  silent: "M4 9v6h4l5 5V4L8 9zm17.4 6L20 16.4 17.6 14l-2.4 2.4-1.4-1.4 2.4-2.4-2.4-2.4L15.2 8.8l2.4 2.4L20 8.8l1.4 1.4-2.4 2.4z",
  leave: "M5 3h8v2H5v14h8v2H5a2 2 0 0 1-2-2V5c0-1.1.9-2 2-2zm11 4 5 5-5 5-1.4-1.4 2.6-2.6H9v-2h8.2l-2.6-2.6z",
  smile: "M12 2a10 10 0 1 1 0 20 10 10 0 0 1 0-20zm0 2a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM8.5 8A1.5 1.5 0 1 1 8.5 11 1.5 1.5 0 0 1 8.5 8zm7 0a1.5 1.5 0 1 1 0 3 1.5 1.5 0 0 1 0-3zM7 13.5h10a5 5 0 0 1-10 0z",
  sending: "M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18zm0 2a7 7 0 1 0 0 14 7 7 0 0 0 0-14zm-1 2h2v4.6l3 3-1.4 1.4L11 12.4z",
  sent: "m9.5 18.4-6-6L5 11l4.5 4.5L19 6l1.5 1.4z",
  read: "m7 18.4-6-6L2.5 11 7 15.5 16.5 6 18 7.4zm6 0-1.5-1.5L21.5 6.8 23 8.3 13 18.4z",
  failed: "M12 2a10 10 0 1 1 0 20 10 10 0 0 1 0-20zm-1 5v6h2V7zm0 8v2h2v-2z",
  search: "M10 3a7 7 0 0 1 5.6 11.2l5 5-1.4 1.4-5-5A7 7 0 1 1 10 3zm0 2a5 5 0 1 0 0 10 5 5 0 0 0 0-10z",
} as const;

export type IconName = keyof typeof paths;
