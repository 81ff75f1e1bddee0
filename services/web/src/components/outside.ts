import { onBeforeUnmount, onMounted } from "vue";

/** Call `pressed` for each press outside the element; one on the button beside it is that button's. */
export function onPressOutside(element: () => HTMLElement | null | undefined, pressed: () => void): void {
  const listener = (event: PointerEvent): void => {
    if (!element()?.contains(event.target as Node)) pressed();
  };
  onMounted(() => document.addEventListener("pointerdown", listener));
  onBeforeUnmount(() => document.removeEventListener("pointerdown", listener));
}
