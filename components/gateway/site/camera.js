// Takes a photograph with the camera. Owns the dialog and the stream, which ends with it; must never send a picture anywhere.

const dialog = document.getElementById("camera");
const video = dialog.querySelector("video");
const said = dialog.querySelector("p");
const [cancel, take] = dialog.querySelectorAll("button");

const REASONS = {
  NotAllowedError: "The browser was not allowed to use the camera. Allow it for this page, or choose a file.",
  NotFoundError: "There is no camera here. Choose a file.",
  NotReadableError: "Another program uses the camera. Close it, or choose a file.",
};

/** Shows what the camera sees; answers a JPEG file, or nothing when the user thought better of it. */
export async function takePhotograph(name) {
  said.textContent = "Waiting for the camera …";
  take.disabled = true;
  dialog.showModal();
  let stream = null;
  const closed = new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  const opening = navigator.mediaDevices
    .getUserMedia({ audio: false, video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 960 } } })
    .then(async (opened) => {
      stream = opened;
      if (!dialog.open) return stop(stream);
      video.srcObject = stream;
      await video.play();
      said.textContent = "Look into the camera. The picture stays in this browser until you compare.";
      take.disabled = false;
      take.focus();
    })
    .catch((error) => {
      said.textContent = REASONS[error.name] ?? `The camera cannot be used (${error.message}). Choose a file.`;
    });
  let file = null;
  const click = async () => {
    file = await frame(name);
    dialog.close();
  };
  take.addEventListener("click", click);
  await closed;
  take.removeEventListener("click", click);
  await opening;
  stop(stream);
  video.srcObject = null;
  return file;
}

cancel.addEventListener("click", () => dialog.close());

function stop(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

/** The present frame as a file; unlike what is shown, it is not mirrored. */
async function frame(name) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.93));
  return new File([blob], name, { type: "image/jpeg" });
}
