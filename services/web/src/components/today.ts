import { shallowRef } from "vue";

/** A moment of the current day: changes at midnight, so that "Today" does not become a lie. */
export const today = shallowRef(Date.now());

function midnight(): void {
  const next = new Date();
  next.setHours(24, 0, 1, 0);
  setTimeout(() => {
    today.value = Date.now();
    midnight();
  }, next.getTime() - Date.now());
}

midnight();
