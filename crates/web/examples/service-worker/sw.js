import { answerRequests } from "tinderbox-web/service-worker";

answerRequests();
