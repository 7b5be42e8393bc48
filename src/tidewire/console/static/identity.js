/** Where a person shows a token or an API key, when the server wants one, and has it forgotten. */

const FIRST = "This server lets in who shows a token or an API key. Paste yours to follow the channel.";

export class Identity {
  #parts;
  #credential;

  /**
   * @param {{panel: HTMLElement, form: HTMLFormElement, input: HTMLInputElement, why: HTMLElement,
   *   forget: HTMLButtonElement}} parts
   * @param {import("./credential.js").Credential} credential
   * @param {() => void} changed called when the person has shown one, or had it forgotten
   */
  constructor(parts, credential, changed) {
    this.#parts = parts;
    this.#credential = credential;
    const { form, input, forget } = parts;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      credential.replace(input.value);
      input.value = "";
      this.dismiss();
      changed();
    });
    forget.addEventListener("click", () => {
      credential.replace("");
      this.dismiss();
      changed();
    });
    this.dismiss();
  }

  /** Asks for one, because of what the server has said. @param {import("./connection.js").Refused} refused */
  ask(refused) {
    const { panel, input, why } = this.#parts;
    why.textContent = this.#credential.isSet || refused.forbids ? refused.message : FIRST;
    if (!panel.hidden) return;
    panel.hidden = false;
    input.focus({ preventScroll: true });
  }

  /** Asks no more. */
  dismiss() {
    this.#parts.panel.hidden = true;
    this.#parts.forget.hidden = !this.#credential.isSet;
  }
}
