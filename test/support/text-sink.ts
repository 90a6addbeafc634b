// Collects what a command writes.
export class CollectedText {
  text = "";
  write(text: string): void {
    this.text += text;
  }
}
