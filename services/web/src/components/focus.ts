/**
 * Put the focus on an element that a virtual list is about to show.
 *
 * The list keeps a new row invisible until it has measured it, and what is invisible takes no focus.
 */
export async function focusWhenShown(find: () => HTMLElement | null | undefined): Promise<void> {
  for (let frame = 0; frame < FRAMES; frame++) {
    const element = find();
    element?.focus();
    if (element && document.activeElement === element) return;
    await new Promise(requestAnimationFrame);
  }
}

/** More than the list ever needs. */
const FRAMES = 20;
