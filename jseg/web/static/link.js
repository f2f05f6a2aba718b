// Stores words and options in the fragment of the address, so that a link restores them.

export function readLink() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(fragment);
}

// `state` contains texts. Empty and initial ones are left out.
export function writeLink(state, initial) {
  const fragment = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) if (value !== "" && value !== initial[name]) fragment.set(name, value);
  history.replaceState(null, "", fragment.size ? "#" + fragment : location.pathname);
}
