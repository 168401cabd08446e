// What a host answers, as types: the JSON as it is written. Owns names and shapes; must never know how they travel.

/** The state of a task; the last three are final. */
export type Status = "PENDING" | "STARTED" | "RETRY" | "SUCCESS" | "FAILURE" | "REVOKED";

/** A place in the upright photograph, in pixels from its top left corner: `[x, y]`. */
export type Point = readonly [x: number, y: number];

/** Where a head points, in degrees; all zero looks straight into the camera. */
export interface Pose {
  /** Positive when the nose points to the right of the photograph. */
  readonly yaw: number;
  /** Positive when the nose points down. */
  readonly pitch: number;
  /** Positive when the head is turned clockwise in the photograph. */
  readonly roll: number;
}

/** The face that was compared. Lengths are pixels of the upright photograph. */
export interface Face {
  /** Left, top, right, bottom. */
  readonly box: readonly [left: number, top: number, right: number, bottom: number];
  /** Left eye, right eye, nose, left and right corner of the mouth, as seen in the photograph. */
  readonly landmarks: readonly [Point, Point, Point, Point, Point];
  readonly pose: Pose;
  /** Size of the upright photograph, in pixels. */
  readonly image: { readonly width: number; readonly height: number };
}

/** A component that took part in the decision. */
export interface Component {
  /** SHA-256 of the component. */
  readonly digest: string;
  /** Counts the deployments on the node. */
  readonly generation: number;
}

/** A verdict. It holds numbers and no pixels. */
export interface Result {
  /** Whether the distance is at most the threshold. */
  readonly verified: boolean;
  /** 0 to 1, 0.5 at the threshold. It orders pairs and is no probability. */
  readonly verification_score: number;
  /** Between the two embeddings, which have length 1. */
  readonly euclidean_distance: number;
  readonly cosine_similarity: number;
  readonly face1_frontal: boolean;
  readonly face2_frontal: boolean;
  /** The detector's probability that the first face is one. */
  readonly confidence1: number;
  readonly confidence2: number;
  /** The distance that decided. */
  readonly threshold: number;
  readonly faces: readonly [Face, Face];
  /** Which code decided. */
  readonly components: { readonly analyzer: Component; readonly scorer: Component };
  /** Which networks were asked; the digest is the SHA-256 of the model's file. */
  readonly models: readonly { readonly name: string; readonly digest: string }[];
  /** How long it took, in milliseconds; of each photograph by step, or `cache` where the analysis was kept from an earlier task. */
  readonly timings_ms: {
    readonly image1: Readonly<Record<string, number>>;
    readonly image2: Readonly<Record<string, number>>;
    readonly score: number;
    readonly total: number;
  };
}

/** Why a task has no result. */
export interface Failure {
  /** For programs, as `no_face`. */
  readonly code: string;
  /** For people: what is wrong, and what would mend it. */
  readonly message: string;
  /** The photograph that it concerns. */
  readonly image?: 1 | 2;
  /** `faces` with `multiple_faces`, `pose` with `non_frontal_face`. */
  readonly details?: { readonly faces?: number; readonly pose?: Pose };
}

/** A task that goes on. */
export interface UnderWay {
  readonly task_id: string;
  readonly status: "PENDING" | "STARTED" | "RETRY";
}

/** A task with a verdict. */
export interface Decided {
  readonly task_id: string;
  readonly status: "SUCCESS";
  readonly result: Result;
}

/** A task that ended without a verdict. */
export interface NotDecided {
  readonly task_id: string;
  readonly status: "FAILURE" | "REVOKED";
  readonly error: Failure;
}

/** A task that has ended. */
export type Ended = Decided | NotDecided;

/** A task as the host describes it; `status` tells which it is. */
export type Task = UnderWay | Ended;

/** Whether a task will change no more. */
export function hasEnded(task: Task): task is Ended {
  return task.status === "SUCCESS" || task.status === "FAILURE" || task.status === "REVOKED";
}
