/** Where pictures come from: a camera, or a video file. */

const WHY: Record<string, string> = {
  NotAllowedError: "The camera was refused. Allow it for this page in the browser's address bar and try again, or open a video.",
  NotFoundError: "There is no camera on this device. Open a video instead.",
  NotReadableError: "The camera is in use by another program, or does not answer. Close that program and try again.",
  OverconstrainedError: "This camera gives no picture of a size that can be used.",
};

export class Source {
  kind: "none" | "camera" | "file" = "none";
  facing: "user" | "environment" = "user";
  private stream: MediaStream | null = null;
  private url = "";
  private asked = 0;

  /** `ended` is called when a camera stops by itself, as one does that is unplugged. */
  constructor(
    private readonly video: HTMLVideoElement,
    private readonly ended: (why: string) => void,
  ) {}

  /** Error that says in words why there is no camera. */
  async camera(): Promise<void> {
    if (!navigator.mediaDevices?.getUserMedia) {
      const why = window.isSecureContext ? "This browser gives no page the camera." : "Browsers give a page the camera only over https, or from this machine itself.";
      throw new Error(`${why} Open a video instead.`);
    }
    this.stop();
    const asked = this.asked;
    const wanted = { facingMode: this.facing, width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
    let stream: MediaStream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    } catch (error) {
      const name = error instanceof DOMException ? error.name : "";
      throw new Error(WHY[name] ?? `The camera cannot be used (${name || String(error)}). Open a video instead.`);
    }
    if (asked !== this.asked) {
      // Something else was chosen while the browser asked: this camera is not wanted any more.
      stream.getTracks().forEach((track) => track.stop());
      return;
    }
    this.stream = stream;
    stream.getVideoTracks()[0]!.addEventListener("ended", () => {
      this.stop();
      this.ended("The camera stopped. Plug it in again and press Camera.");
    });
    this.video.srcObject = stream;
    this.kind = "camera";
    await this.video.play();
  }

  /** Error that names the file if the browser cannot play it. */
  async file(file: File): Promise<void> {
    this.stop();
    this.url = URL.createObjectURL(file);
    this.video.src = this.url;
    this.video.loop = true;
    this.kind = "file";
    try {
      await this.video.play();
    } catch {
      this.stop();
      throw new Error(`${file.name}: this browser cannot play it; MP4 with H.264 and WebM play everywhere`);
    }
  }

  /** How many cameras there are. */
  async cameras(): Promise<number> {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    return devices.filter((device) => device.kind === "videoinput").length;
  }

  stop(): void {
    this.asked++;
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.pause();
    this.video.srcObject = null;
    this.video.removeAttribute("src");
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = "";
    this.kind = "none";
  }
}
